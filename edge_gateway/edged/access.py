"""What a pod that asks for it gets of the gateway's local API: files with a token, and variables that say where it is.

Edged mounts and removes them; what is in them, and who is asked, is `local_api/pod_access.py`.
"""

from collections.abc import Mapping
from typing import Protocol

from edge_gateway.edged.pods import Pod

ANNOTATION = "hedgerow.dev/local-api"
"""Of a pod that asks; its value is the role."""
FOLDER = "hedgerow.dev~local-api"
"""Among a pod's volumes; none of them can have that name."""


class Access(Protocol):
    """The local API, as pods get it."""

    place: str
    """Where containers have the files; empty where nothing can be mounted, and they are where they lie."""

    def refusals(self, pod: Pod) -> list[str]:
        """What a pod asks for that it cannot have."""
        ...

    def asked(self, pod: Pod) -> bool:
        """Whether a pod shall have it."""
        ...

    def files(self, pod: Pod) -> Mapping[str, bytes]:
        """What it finds, as it is now."""
        ...

    def environment(self, pod: Pod, address: str, folder: str) -> Mapping[str, str]:
        """Its variables; `address` is its own one, empty where it has the machine's; `folder` is where it has the files."""
        ...


class NoAccess:
    """An `Access` where there is no local API."""

    place = ""

    def refusals(self, pod: Pod) -> list[str]:
        """Everything."""
        asks = ANNOTATION in pod.metadata.annotations
        return (
            [f"annotation {ANNOTATION}: edgecore.yaml of this gateway has no `local_api` with a port"] if asks else []
        )

    def asked(self, pod: Pod) -> bool:
        """None does."""
        return False

    def files(self, pod: Pod) -> Mapping[str, bytes]:
        """None."""
        return {}

    def environment(self, pod: Pod, address: str, folder: str) -> Mapping[str, str]:
        """None."""
        return {}
