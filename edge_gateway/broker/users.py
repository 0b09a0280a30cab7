"""Who may connect to the broker, and which topics each may use.

Permissions are topic filters, for publishing and for subscribing; `#` alone means every topic. A subscription is allowed when
one of the user's filters covers all of it. Passwords are kept as scrypt hashes in the form `scrypt$n$r$p$salt$hash` (base64);
`hash_password` makes one. The users' file:

    users:
      - name: greenhouse-1          # a device: only its own topics
        password: scrypt$4096$8$1$...
        device: default/greenhouse-1
      - name: modbus                # a mapper: every $hw/ and $ke/ topic
        password: scrypt$4096$8$1$...
        role: mapper
      - name: dashboard             # anything else, by filters
        password: scrypt$4096$8$1$...
        subscribe: ["$hw/events/device/+/+/twin/update/document"]
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from edge_gateway.broker.filters import covers, filter_fault
from edgewire import config, topics

# 4 MiB for about 10 ms: a gateway has little memory, and device passwords are random, not chosen.
_COST, _BLOCK, _PARALLEL = 4096, 8, 1
_MAX_COST = 1 << 14
_CACHED_TOPICS = 256


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
            allowed = any(covers(name, topic) for name in self.publish)
            if len(self._allowed) >= _CACHED_TOPICS:
                self._allowed.clear()
            self._allowed[topic] = allowed
        return allowed

    def may_subscribe(self, name_filter: str) -> bool:
        """Whether this user may subscribe to all of `name_filter`."""
        return any(covers(name, name_filter) for name in self.subscribe)


def device_user(device: str, password_hash: str, name: str | None = None) -> User:
    """The user of the device `<namespace>/<name>`: it reports to its own topics and reads what is said on them.

    Its own name is the device id unless another is given. Raises ValueError when the id is not two plain topic levels.
    """
    levels = device.split("/")
    if len(levels) != 2 or not all(levels) or any(character in device for character in "+#\0"):
        raise ValueError(f"device {device!r} is not <namespace>/<name>")
    kinds = (topics.UPDATE, topics.GET, topics.STATE)
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
        for user in users:
            if user.name in self._users:
                raise ValueError(f"user {user.name!r} is there twice")
            self._users[user.name] = user
        self._salt = secrets.token_bytes(16)
        self._proven: dict[str, bytes] = {}
        self._decoy = hash_password(secrets.token_hex(8))

    def __len__(self) -> int:
        return len(self._users)

    def find(self, name: str) -> User | None:
        """The user of that name."""
        return self._users.get(name)

    def remembered(self, name: str, password: bytes) -> User | None:
        """The user, if this password was proven before; at once, unlike `check`."""
        proven = self._proven.get(name)
        if proven is None or not hmac.compare_digest(proven, self._digest(password)):
            return None
        return self._users[name]

    def check(self, name: str, password: bytes) -> User | None:
        """The user, if the password is right. Takes about 10 ms, for names that do not exist too; any thread may call it."""
        user = self._users.get(name)
        right = verify_password(password, user.password_hash if user is not None else self._decoy)
        if user is None or not right:
            return None
        self._proven[name] = self._digest(password)
        return user

    def _digest(self, password: bytes) -> bytes:
        return hashlib.blake2b(password, key=self._salt).digest()


def hash_password(password: str) -> str:
    """A password as the users' file keeps it, with a salt of its own."""
    salt = secrets.token_bytes(12)
    key = hashlib.scrypt(password.encode(), salt=salt, n=_COST, r=_BLOCK, p=_PARALLEL, dklen=32)
    text = (base64.b64encode(part).decode() for part in (salt, key))
    return "$".join(("scrypt", str(_COST), str(_BLOCK), str(_PARALLEL), *text))


def verify_password(password: bytes, password_hash: str) -> bool:
    """Whether `password` is the one that was hashed; False also for a hash that is none."""
    try:
        cost, block, parallel, salt, key = _parts(password_hash)
    except ValueError:
        return False
    found = hashlib.scrypt(password, salt=salt, n=cost, r=block, p=parallel, dklen=len(key))
    return hmac.compare_digest(found, key)


def _parts(password_hash: str) -> tuple[int, int, int, bytes, bytes]:
    parts = password_hash.split("$")
    if len(parts) != 6 or parts[0] != "scrypt":
        raise ValueError("a password hash reads scrypt$n$r$p$salt$hash")
    cost, block, parallel = (int(part) for part in parts[1:4])
    try:
        salt, key = (base64.b64decode(part, validate=True) for part in parts[4:])
    except binascii.Error as error:
        raise ValueError("a password hash's salt and hash are base64") from error
    if not (2 <= cost <= _MAX_COST and cost & cost - 1 == 0 and block == 8 and 1 <= parallel <= 4 and len(key) == 32):
        raise ValueError("a password hash has n a power of two up to 16384, r 8, p 1 to 4 and a hash of 32 bytes")
    return cost, block, parallel, salt, key


class _UserEntry(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    password: str
    device: str | None = None
    role: Literal["mapper", "full"] | None = None
    publish: list[str] = []
    subscribe: list[str] = []

    def __post_init__(self) -> None:
        _parts(self.password)
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
