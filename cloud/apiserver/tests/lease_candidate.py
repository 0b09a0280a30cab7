"""A candidate of an election by Lease, with the `kubernetes` package's own: prints "leading" when it is its turn.

python lease_candidate.py NAMESPACE NAME IDENTITY
"""

import sys
import threading
from typing import Any

import kubernetes.config
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock


def lead() -> None:
    """Say so, and lead until the end."""
    print("leading", flush=True)  # noqa: T201 - what the test waits for
    threading.Event().wait()


def main() -> None:
    """Stand until elected; then lead until the Lease cannot be renewed."""
    namespace, name, identity = sys.argv[1:]
    kubernetes.config.load_kube_config()  # type: ignore[no-untyped-call]
    lock: Any = LeaseLock(name, namespace, identity)  # type: ignore[no-untyped-call]
    config: Any = electionconfig.Config(lock, 3, 2, 1, onstarted_leading=lead, onstopped_leading=sys.exit)  # type: ignore[no-untyped-call]
    leaderelection.LeaderElection(config).run()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
