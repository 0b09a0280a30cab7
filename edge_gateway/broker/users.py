"""Who may connect to the broker, and which topics each may use.

Permissions are topic filters, for publishing and for subscribing; `#` alone means every topic. A subscription is allowed when
one of the user's filters covers all of it. Passwords are kept as hashes (`passwords.py`; `hedgerow password` makes one). Users of
mosquitto's files are in `acl.py`. The users' file:

    users:
      - name: greenhouse-1          # a device: only its own topics
        password: scrypt$4096$8$1$...
        device: default/greenhouse-1
      - name: modbus                # a mapper: every $hw/ and $ke/ topic
        password: scrypt$4096$8$1$...
        role: mapper
      - name: dashboard             # anything else, by filters; without a password, only by its client certificate
        subscribe: ["$hw/events/device/+/+/twin/update/document"]
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from edge_gateway.broker.filters import covers, filter_fault
from edge_gateway.broker.passwords import check_hash, hash_password, verify_password
from edgewire import config, topics

ANONYMOUS = ""
"""The name of the user of a client that names none."""

_CACHED_TOPICS, _LONGEST_CACHED = 256, 256


class User:
    """A name with its permissions. An empty password hash lets nobody in."""

    __slots__ = ("_allowed", "name", "password_hash", "publish", "subscribe")

    def __init__(
        self, name: str, password_hash: str, publish: Iterable[str] = (), subscribe: Iterable[str] = ()
    ) -> None:
        self.name = name
        self.password_hash = password_hash
        self.publish = tuple(publish)
        self.subscribe = tuple(subscribe)
        self._allowed: dict[str, bool] = {}

    def may_publish(self, topic: str) -> bool:
        """Whether this user may publish to `topic`."""
        allowed = self._allowed.get(topic)
        if allowed is None:
            allowed = self._find_publish(topic)
            if len(topic) > _LONGEST_CACHED:
                return allowed
            if len(self._allowed) >= _CACHED_TOPICS:
                self._allowed.clear()
            self._allowed[topic] = allowed
        return allowed

    def may_subscribe(self, name_filter: str) -> bool:
        """Whether this user may subscribe to `name_filter`."""
        return any(covers(name, name_filter) for name in self.subscribe)

    @property
    def reads_in_part(self) -> bool:
        """Whether `may_read` must be asked for each topic of a subscription that was granted."""
        return False

    def may_read(self, topic: str) -> bool:
        """Whether this user may be sent messages of `topic`, once it may subscribe to a filter that matches it."""
        return True

    def _find_publish(self, topic: str) -> bool:
        return any(covers(name, topic) for name in self.publish)


class Guest(User):
    """A user of no file, for whom somebody else answers; no ACL restricts him."""

    __slots__ = ()


class Guests(Protocol):
    """Who answers for guests. Any thread may ask."""

    def admit(self, name: str, password: bytes) -> Guest | None:
        """The guest of that name, if the password is right now."""
        ...

    def find(self, name: str) -> Guest | None:
        """The guest of that name, with the rights of now."""
        ...


def device_user(device: str, password_hash: str, name: str | None = None) -> User:
    """The user of the device `<namespace>/<name>`: it reports to its own topics and reads what is said on them.

    Its own name is the device id unless another is given. Raises ValueError when the id is not two plain topic levels.
    """
    levels = device.split("/")
    if len(levels) != 2 or not all(levels) or any(character in device for character in "+#\0"):
        raise ValueError(f"device {device!r} is not <namespace>/<name>")
    kinds = (topics.UPDATE, topics.GET, topics.STATE, topics.OTA_GET)
    publish = (*(topics.of_device(device, kind) for kind in kinds), topics.data_update(device))
    data_root = topics.data_update(device).removesuffix("data/update")
    return User(name or device, password_hash, publish, (topics.of_device(device, "#"), data_root + "#"))


def mapper_user(name: str, password_hash: str) -> User:
    """A mapper's user: every `$hw/` and `$ke/` topic."""
    return User(name, password_hash, ("$hw/#", "$ke/#"), ("$hw/#", "$ke/#"))


def full_user(name: str, password_hash: str) -> User:
    """A user of every topic."""
    return User(name, password_hash, ("#",), ("#",))


class Users:
    """The users of a broker. A name that comes twice is a ValueError."""

    def __init__(self, users: Iterable[User]) -> None:
        self._users: dict[str, User] = {}
        self._employed: User | None = None
        self._guests: Guests | None = None
        for user in users:
            if user.name in self._users:
                raise ValueError(f"user {user.name!r} is there twice")
            self._users[user.name] = user
        self._salt = secrets.token_bytes(16)
        self._proven: dict[str, bytes] = {}
        self._decoy = hash_password(secrets.token_hex(8))

    def __len__(self) -> int:
        return len(self._users)

    def employ(self, user: User) -> None:
        """Let in the gateway's own user, who stands in no file; no ACL restricts him. ValueError when the name is taken."""
        if user.name in self._users:
            raise ValueError(f"user {user.name!r} is the gateway's own: give it another name")
        self._users[user.name] = user
        self._employed = user

    def invite(self, guests: Guests) -> None:
        """Let in whom `guests` answer for, too; users of the files go before them."""
        self._guests = guests

    def find(self, name: str) -> User | None:
        """The user of that name."""
        user = self._users.get(name)
        return self._guests.find(name) if user is None and self._guests is not None else user

    def anonymous(self) -> User | None:
        """The user of clients that name none; None when they are not let in."""
        return None

    def certified(self, name: str) -> User | None:
        """The user that a valid client certificate names; None when there is no such user, or it is the gateway's own."""
        user = self._users.get(name)
        return user if user is not self._employed else None

    def for_client(self, user: User, client_id: str) -> User:
        """The user as one of its clients: rights may depend on the client id."""
        return user

    def owner(self, name: str | None) -> User | None:
        """The user of a session that the broker kept; None when it is gone."""
        return self.anonymous() if not name else self.find(name) or self.certified(name)

    def again(self, before: User, certified: bool) -> User | None:
        """The user whom an earlier reading of the files let in as `before`; None when its user or password is not there now."""
        if certified:
            return self.certified(before.name)
        if before.name == ANONYMOUS:
            return self.anonymous()
        found = self.find(before.name)
        return found if found is not None and found.password_hash == before.password_hash else None

    def remembered(self, name: str, password: bytes) -> User | None:
        """The user, if this password was proven before; at once, unlike `check`."""
        proven = self._proven.get(name)
        if proven is None or not hmac.compare_digest(proven, self._digest(password)):
            return None
        return self._users[name]

    def check(self, name: str, password: bytes) -> User | None:
        """The user, if the password is right. Takes about 10 ms, for names that do not exist too; any thread may call it."""
        user = self._users.get(name)
        if user is None and self._guests is not None and (guest := self._guests.admit(name, password)) is not None:
            return guest
        right = verify_password(password, user.password_hash if user is not None else self._decoy)
        if user is None or not right:
            return None
        self._proven[name] = self._digest(password)
        return user

    def _digest(self, password: bytes) -> bytes:
        return hashlib.blake2b(password, key=self._salt).digest()


class _UserEntry(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    password: str = ""
    device: str | None = None
    role: Literal["mapper", "full"] | None = None
    publish: list[str] = []
    subscribe: list[str] = []

    def __post_init__(self) -> None:
        if self.password:
            check_hash(self.password)
        given = (self.device is not None) + (self.role is not None) + bool(self.publish or self.subscribe)
        if not self.name or given != 1:
            raise ValueError("a user has a name, and one of `device`, `role`, or `publish` and `subscribe`")
        for name in (*self.publish, *self.subscribe):
            if fault := filter_fault(name):
                raise ValueError(f"{name!r}: {fault}")
        self.user()

    def user(self) -> User:
        if self.device is not None:
            return device_user(self.device, self.password, self.name)
        if self.role is not None:
            return (mapper_user if self.role == "mapper" else full_user)(self.name, self.password)
        return User(self.name, self.password, self.publish, self.subscribe)


class _UsersFile(msgspec.Struct, forbid_unknown_fields=True):
    users: list[_UserEntry] = []

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.users]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"user {twice!r} is there twice")


def load_users(path: Path) -> Users:
    """Read a users' file. Raises edgewire.config.ConfigError naming the file and the key."""
    return Users(entry.user() for entry in config.load(path, _UsersFile).users)
