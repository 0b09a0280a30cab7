"""Who asks, and the three roles there are: admin, edge node, viewer.

A role is a group of the user, as a certificate's organisation or a token's line names it. Roles are fixed: there are no RBAC
objects. A user in none of the groups is known, and may do nothing but ask who it is.
"""

from typing import NamedTuple

ADMIN, NODE, VIEWER = "admin", "node", "viewer"
ROLES = (ADMIN, NODE, VIEWER)

ADMINS = "system:masters"
NODES = "system:nodes"
VIEWERS = "hedgerow:viewers"
AUTHENTICATED = "system:authenticated"
NODE_PREFIX = "system:node:"
"""What a node's name follows in its user name."""

_GROUPS = {ADMIN: ADMINS, NODE: NODES, VIEWER: VIEWERS}


class User(NamedTuple):
    """A name and groups, as a credential states them."""

    name: str
    groups: tuple[str, ...] = ()

    @property
    def role(self) -> str:
        """ADMIN, NODE, VIEWER, or "" for none; the strongest of several."""
        if ADMINS in self.groups:
            return ADMIN
        # Without a name it would be the node of everything that has none.
        if NODES in self.groups and self.name.startswith(NODE_PREFIX) and self.name != NODE_PREFIX:
            return NODE
        return VIEWER if VIEWERS in self.groups else ""

    @property
    def node(self) -> str:
        """The node's name, of a user in the node's role."""
        return self.name.removeprefix(NODE_PREFIX) if self.role == NODE else ""

    @property
    def info(self) -> dict[str, object]:
        """The UserInfo of authentication.k8s.io."""
        return {"username": self.name, "groups": list(dict.fromkeys([*self.groups, AUTHENTICATED]))}


def user_of(role: str, name: str) -> User:
    """The user of a role; for a node, `name` is the node's."""
    return User(NODE_PREFIX + name if role == NODE else name, (_GROUPS[role],))
