"""The vocabulary that cloud, gateway, mappers and boards share. It imports nothing of the others."""

__version__ = "0.1.0"
