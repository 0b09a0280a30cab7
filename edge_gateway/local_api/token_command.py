"""`edgecore token NAME`: a token for an application of this machine; its hash goes into a file, the token to standard output."""

import argparse
import sys
from pathlib import Path

from edge_gateway.config import EdgeConfig, LocalApiConfig
from edge_gateway.local_api import token_files
from edge_gateway.local_api.access import AccountsError
from edgewire.config import load


def run(arguments: list[str]) -> int:
    """The command: 0, or 1 when the file cannot be used or there is no such name. Raises ConfigError."""
    parser = argparse.ArgumentParser(prog="edgecore token", description="A token for the gateway's local API.")
    parser.add_argument("name", help="whose token it is; a new one takes the place of the old")
    parser.add_argument("--role", choices=("viewer", "operator"), default="viewer", help="operators set desired values")
    parser.add_argument("--secrets", action="store_true", help="may read Secrets")
    parser.add_argument("--revoke", action="store_true", help="take the token away")
    parser.add_argument("--config", type=Path, help="edgecore.yaml")
    asked = parser.parse_args(arguments)
    config = load(asked.config, EdgeConfig)
    file = config.data_dir / (config.local_api or LocalApiConfig()).tokens
    try:
        if asked.revoke:
            if token_files.revoke(file, asked.name):
                return 0
            sys.stderr.write(f"edgecore: {file} has no token of {asked.name}\n")
            return 1
        sys.stdout.write(token_files.issue(file, asked.name, asked.role, asked.secrets) + "\n")
    except (OSError, AccountsError) as error:
        sys.stderr.write(f"edgecore: {file}: {error}\n")
        return 1
    return 0
