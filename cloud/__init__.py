"""CloudCore: between Kubernetes and the nodes at the edge."""


class CloudError(Exception):
    """The base of every error this package raises on purpose."""
