"""Pods as guests of the built-in broker: the token for the local API is their password there, where the broker has users. A core.

A pod hears what is said on the topics of the devices of its namespace, and asks for their twins; an operator also reports desired
values and calls methods.
"""

from edge_gateway.broker.users import Guest
from edge_gateway.local_api.pod_access import USER_PREFIX, Holder, PodAccess, user_name
from edgewire import topics


class PodGuests:
    """`broker.users.Guests`. Nobody is one until `access` is there."""

    def __init__(self) -> None:
        self.access: PodAccess | None = None

    def admit(self, name: str, password: bytes) -> Guest | None:
        """The pod of that name, if this is its token."""
        if self.access is None or not name.startswith(USER_PREFIX):
            return None
        try:
            found = self.access.holder(password.decode())
        except UnicodeDecodeError:
            return None
        return _guest(found) if found is not None and user_name(found.namespace, found.name) == name else None

    def find(self, name: str) -> Guest | None:
        """The pod of that name, if it may use the local API now."""
        if self.access is None or not name.startswith(USER_PREFIX):
            return None
        namespace, _, pod = name.removeprefix(USER_PREFIX).partition("/")
        found = self.access.named(namespace, pod)
        return _guest(found) if found is not None else None


def _guest(pod: Holder) -> Guest:
    each = f"{pod.namespace}/+"
    kinds = (topics.GET, topics.UPDATE, topics.METHOD) if pod.operator else (topics.GET,)
    hears = topics.of_device(pod.namespace, "#")
    # Another pod of its name is another user: it has another uid.
    return Guest(user_name(pod.namespace, pod.name), pod.uid, [topics.of_device(each, kind) for kind in kinds], [hears])
