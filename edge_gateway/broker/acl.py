"""Access control lists in mosquitto's language, read as they are (mosquitto.conf(5), `acl_file`), and its password files.

    topic read announcements/#              before the first `user`: for clients without a user
    user dashboard
    topic read $hw/events/device/+/+/twin/update/document
    topic deny plant/secret/#
    pattern readwrite $hw/events/device/%u/#    for every client; %u its user's name, %c its client id

A rule is `topic` or `pattern`, then `read`, `write`, `readwrite` (which is meant when nothing is said) or `deny`, then a topic
filter. Of the rules that match a topic a user's own count before the patterns, and among each of them those that deny. What no
rule allows is denied. `read` is decided message by message, as in mosquitto: one may subscribe to `plant/#` and still not hear
`plant/secret/x`. Unlike in mosquitto, a subscription is refused when nothing that one may read can ever match it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from edge_gateway.broker.filters import filter_fault, matches, overlap
from edge_gateway.broker.passwords import check_hash
from edge_gateway.broker.users import ANONYMOUS, Guest, User, Users
from edgewire.config import ConfigError

DENY, READ, WRITE = 0, 1, 2
_ACCESS = {"read": READ, "write": WRITE, "readwrite": READ | WRITE, "deny": DENY}


class Rule(NamedTuple):
    """What a topic filter lets one do: DENY, READ, WRITE, or READ | WRITE."""

    access: int
    name_filter: str


@dataclass(slots=True)
class Acl:
    """The rules of a file, in its order."""

    topics: dict[str, list[Rule]] = field(default_factory=dict)
    """By user; those of clients without one by ANONYMOUS."""
    patterns: list[Rule] = field(default_factory=list)

    def rules(self, user: str, client_id: str) -> tuple[Rule, ...]:
        """The rules for one client, in the order in which they count."""
        own = _denials_first(self.topics.get(user, ()))
        if any(wildcard in user + client_id for wildcard in "+#"):
            return own  # else a user named # would read everybody's topics
        filled = (
            Rule(access, name.replace("%c", client_id).replace("%u", user))
            for access, name in self.patterns
            if user or "%u" not in name
        )
        return (*own, *_denials_first(filled))


class AclUser(User):
    """A client under the rules of an ACL; its rights depend on its client id too."""

    __slots__ = ("_rules",)

    def __init__(self, name: str, password_hash: str, rules: tuple[Rule, ...]) -> None:
        super().__init__(name, password_hash)
        self._rules = rules

    @property
    def reads_in_part(self) -> bool:
        """Yes: each message of its subscriptions must be looked at."""
        return True

    def may_subscribe(self, name_filter: str) -> bool:
        """Whether anything that it may read could match."""
        return any(rule.access & READ and overlap(rule.name_filter, name_filter) for rule in self._rules)

    def may_read(self, topic: str) -> bool:
        """Whether it may be sent messages of `topic`."""
        return self._may(READ, topic)

    def _find_publish(self, topic: str) -> bool:
        return self._may(WRITE, topic)

    def _may(self, access: int, topic: str) -> bool:
        for rule in self._rules:
            if (rule.access == DENY or rule.access & access) and matches(rule.name_filter, topic):
                return rule.access != DENY
        return False


class ListedUsers(Users):
    """Users of a password file, under an ACL. Without an ACL each may do everything."""

    def __init__(
        self,
        passwords: dict[str, str],
        acl: Acl | None = None,
        *,
        allow_anonymous: bool = False,
        allow_certificates: bool = False,
    ) -> None:
        """`passwords` are hashes by name. `allow_certificates` lets in whoever a valid client certificate names."""
        super().__init__(_everything(name, password_hash) for name, password_hash in passwords.items())
        self._acl = acl
        self._allow_anonymous = allow_anonymous
        self._allow_certificates = allow_certificates

    def anonymous(self) -> User | None:
        """A client without user and password."""
        return _everything(ANONYMOUS, "") if self._allow_anonymous else None

    def certified(self, name: str) -> User | None:
        """Whoever a valid client certificate names."""
        return _everything(name, "") if self._allow_certificates and name else None

    def for_client(self, user: User, client_id: str) -> User:
        """The rights of one of its clients."""
        if self._acl is None or user is self._employed or isinstance(user, Guest):
            return user
        return AclUser(user.name, user.password_hash, self._acl.rules(user.name, client_id))


def parse_acl(text: str, source: str) -> Acl:
    """The rules in a file's text. Raises ConfigError naming `source` and the line."""
    acl = Acl()
    user = ANONYMOUS
    for number, line in _lines(text):
        keyword, _, rest = line.partition(" ")
        rest = rest.strip()
        if keyword == "user" and rest:
            user = rest
        elif keyword == "topic" and rest:
            acl.topics.setdefault(user, []).append(_rule(rest, source, number))
        elif keyword == "pattern" and rest:
            acl.patterns.append(_rule(rest, source, number))
        else:
            raise ConfigError(f"{source}, line {number}: {line!r} is none of `user NAME`, `topic …` and `pattern …`")
    return acl


def parse_passwords(text: str, source: str) -> dict[str, str]:
    """Hashes by user of a mosquitto password file. Raises ConfigError naming `source` and the line."""
    found: dict[str, str] = {}
    for number, line in _lines(text):
        name, colon, password_hash = line.partition(":")
        try:
            if not name or not colon:
                raise ValueError("a line reads `user:hash`")
            check_hash(password_hash)
        except ValueError as error:
            raise ConfigError(f"{source}, line {number}: {error}") from error
        if name in found:
            raise ConfigError(f"{source}, line {number}: user {name!r} is there twice")
        found[name] = password_hash
    return found


def load_listed(
    password_file: Path | None, acl_file: Path | None, *, allow_anonymous: bool, allow_certificates: bool
) -> ListedUsers:
    """Users from mosquitto's files as they are. Raises ConfigError naming the file and the line."""
    passwords = parse_passwords(_read(password_file), password_file.name) if password_file else {}
    acl = parse_acl(_read(acl_file), acl_file.name) if acl_file else None
    return ListedUsers(passwords, acl, allow_anonymous=allow_anonymous, allow_certificates=allow_certificates)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error


def _lines(text: str) -> list[tuple[int, str]]:
    """The lines that say something, with their numbers."""
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1))
    return [(number, line) for number, line in lines if line and not line.startswith("#")]


def _rule(rest: str, source: str, number: int) -> Rule:
    word, _, name = rest.partition(" ")
    name = name.strip()
    if not name:
        word, name = "readwrite", rest
    if word not in _ACCESS:
        raise ConfigError(f"{source}, line {number}: {word!r} is none of {', '.join(_ACCESS)}")
    if fault := filter_fault(name):
        raise ConfigError(f"{source}, line {number}: {name!r}: {fault}")
    return Rule(_ACCESS[word], name)


def _denials_first(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    return tuple(sorted(rules, key=lambda rule: rule.access != DENY))


def _everything(name: str, password_hash: str) -> User:
    return User(name, password_hash, ("#",), ("#",))
