"""MQTT over TLS, with real sockets: certificates that name their user, those that are refused, and new ones without a restart."""

import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_gateway.broker.packets import (
    PINGREQ,
    PINGRESP,
    Bare,
    Connack,
    Connect,
    Publish,
    encode_bare,
    encode_connect,
    encode_publish,
)
from edge_gateway.broker.passwords import hash_password
from edge_gateway.broker.tests.authority import SERVER_AUTH, Authority, Pair
from edge_gateway.broker.tests.brokers import DEADLINE_S, ROOT, BuiltIn, Paho, Raw, free_port, until

D = "$hw/events/device/"
PASSWORD = hash_password("boss")
USERS = f"""
users:
  - {{name: boss, password: {PASSWORD}, role: full}}
  - {{name: default/s1, device: default/s1}}
  - {{name: s2, device: default/s2, password: {hash_password("s2")}}}
"""

Client = Callable[..., Raw]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "ca")


class Site:
    """A broker with both listeners, and clients that trust its authority."""

    def __init__(self, folder: Path, authority: Authority, require_certificate: bool = False) -> None:
        self.authority = authority
        self.port = free_port()
        pair = authority.server()
        shutil.copy(pair.certificate, folder / "server.crt")
        shutil.copy(pair.key, folder / "server.key")
        shutil.copy(authority.certificate, folder / "clients.crt")
        (folder / "users.yaml").write_text(USERS)
        tls = {"port": self.port, "certificate": "server.crt", "key": "server.key", "client_ca": "clients.crt"}
        settings = {"users_file": "users.yaml", "tls": {**tls, "require_certificate": require_certificate}}
        self.broker = BuiltIn(folder, settings=settings)
        self._clients: list[Raw] = []

    def context(self, pair: Pair | None = None, ca: Path | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=ca or self.authority.certificate)
        if pair is not None:
            context.load_cert_chain(*pair)
        return context

    def raw(self, pair: Pair | None = None, ca: Path | None = None) -> Raw:
        client = Raw(self.broker, self.port, self.context(pair, ca))
        self._clients.append(client)
        return client

    def complaints(self, about: str) -> list[str]:
        """The log's lines that contain this."""
        return [line for line in self.broker.log().splitlines() if about in line]

    def close(self) -> None:
        for client in self._clients:
            client.drop()
        self.broker.stop()
        assert "Traceback" not in self.broker.log()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("broker"), authority)
    try:
        made.broker.start()
        yield made
    finally:
        made.close()


@pytest.fixture
def fresh(tmp_path: Path, authority: Authority) -> Iterator[Site]:
    """A site for a test that changes its files."""
    made = Site(tmp_path, authority)
    try:
        made.broker.start()
        yield made
    finally:
        made.close()


def test_both_listeners_serve_the_same_broker(site: Site) -> None:
    with site.raw().connect("a", user="boss", password=b"boss") as secret:
        secret.subscribe("t")
        with Raw(site.broker).connect("b", user="boss", password=b"boss") as plain:
            plain.publish("t", b"over TCP")
        assert secret.next(Publish).payload == b"over TCP"


def test_a_certificate_names_its_user_and_needs_no_password(site: Site) -> None:
    boss = Raw(site.broker).connect("boss", user="boss", password=b"boss")
    boss.subscribe("$hw/#", "#")
    with site.raw(site.authority.client("default/s1")).connect("s1") as device:
        for topic in ("t", f"{D}default/s2/twin/update", f"{D}default/s1/twin/update"):
            device.publish(topic, b"x")
        assert boss.next(Publish).topic == f"{D}default/s1/twin/update"
        assert device.subscribe("#", f"{D}default/s1/#") == b"\x80\x01"
    boss.drop()


def test_a_certificate_counts_whatever_user_and_password_are_given_with_it(site: Site) -> None:
    with site.raw(site.authority.client("default/s1")).connect("c", user="boss", password=b"boss") as device:
        assert device.subscribe("#") == b"\x80"


def test_a_client_without_a_certificate_gives_its_password(site: Site) -> None:
    for password, code in ((b"s2", 0), (b"no", 5)):
        client = site.raw()
        client.send(encode_connect(Connect(f"s2-{code}", user="s2", password=password)))
        assert client.next() == Connack(False, code)


@pytest.mark.parametrize("user", ["stranger", ""])
def test_a_certificate_of_no_user_gets_the_code_for_it(site: Site, user: str) -> None:
    client = site.raw(site.authority.client(user or "nameless", named=bool(user)))
    client.send(encode_connect(Connect("c")))
    assert client.next() == Connack(False, 5)


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ("expired", "certificate has expired"),
        ("foreign", "unable to get local issuer certificate"),
        ("for servers", "unsuitable certificate purpose"),
    ],
)
def test_a_bad_certificate_fails_the_handshake_with_one_line(site: Site, tmp_path: Path, why: str, reason: str) -> None:
    match why:
        case "expired":
            pair = site.authority.client("default/s1", days=-1)
        case "foreign":
            pair = Authority(tmp_path / "other", "other CA").client("default/s1")
        case _:
            pair = site.authority.client("default/s1", purpose=SERVER_AUTH)
    before = site.broker.log()
    with pytest.raises((ssl.SSLError, ConnectionError)):  # with TLS 1.3 the alert comes after the client is through
        site.raw(pair).connect("c")
    until(lambda: reason in site.broker.log()[len(before) :], "the line is logged")
    with site.raw().connect("other", user="boss", password=b"boss"):
        pass
    (line,) = [one for one in site.broker.log()[len(before) :].splitlines() if "other" not in one and "boss" not in one]
    assert line.startswith("WARNING:")
    assert line.endswith(f"reason=TLS handshake: {reason}")


def test_a_client_without_a_certificate_is_turned_away_where_one_is_required(
    tmp_path: Path, authority: Authority
) -> None:
    site = Site(tmp_path, authority, require_certificate=True)
    try:
        site.broker.start()
        with pytest.raises((ssl.SSLError, ConnectionError)):
            site.raw().connect("c", user="boss", password=b"boss")
        assert site.raw(authority.client("default/s1")).connect("s1").subscribe(f"{D}default/s1/#") == b"\x01"
        until(lambda: site.complaints("peer did not return a certificate"), "the line is logged")
    finally:
        site.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(site: Site, version: ssl.TLSVersion) -> None:
    context = site.context()
    context.minimum_version = context.maximum_version = version
    with Raw(site.broker, site.port, context).connect("v", user="boss", password=b"boss") as client:
        big = bytes(200_000)
        client.subscribe("t")
        client.send(encode_publish("t", big))
        assert client.next(Publish).payload == big


def test_older_versions_are_not(site: Site) -> None:
    context = site.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Raw(site.broker, site.port, context)


NO_TLS = [encode_connect(Connect("plain")), b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(99_999)]


@pytest.mark.parametrize("said", NO_TLS, ids=["MQTT", "HTTP", "an endless record"])
def test_who_speaks_no_tls_is_closed_with_one_line(site: Site, said: bytes) -> None:
    with Raw(site.broker, site.port) as stranger:
        address = "{}:{}".format(*stranger.socket.getsockname())
        stranger.send(said)
        with stranger.socket:
            while stranger.socket.recv(1000):
                pass
    until(lambda: site.complaints(address), "the line is logged")
    (line,) = site.complaints(address)
    assert "TLS handshake: " in line


def test_paho_connects(site: Site) -> None:
    client = Paho(site.broker, "paho", port=site.port)
    client.client.tls_set_context(site.context(site.authority.client("default/s1")))
    try:
        client.connect()
        assert client.codes == [0]
        client.subscribe(f"{D}default/s1/#")
        client.publish(f"{D}default/s1/twin/update", b"x")
        assert client.wait_messages(1) == [(f"{D}default/s1/twin/update", b"x")]
    finally:
        client.close()


def test_a_closing_broker_and_a_closing_client_say_so(site: Site) -> None:
    client = site.raw().connect("bad", user="boss", password=b"boss")
    client.send(encode_bare(PINGREQ), b"\x00\x00")
    assert client.wait_closed() == [Bare(PINGRESP)]  # ssl would raise if the end were not announced
    leaving = site.raw().connect("leaving", user="boss", password=b"boss")
    leaving.socket.unwrap()  # type: ignore[attr-defined]
    until(lambda: site.complaints("client='leaving' reason=connection lost"), "the broker notices")


def test_a_new_certificate_holds_for_new_connections_and_the_old_ones_go_on(fresh: Site, tmp_path: Path) -> None:
    old = fresh.raw().connect("old", user="boss", password=b"boss")
    other = Authority(tmp_path / "new", "new CA")
    pair = other.server()
    shutil.copy(pair.certificate, fresh.broker.folder / "server.crt")
    until(lambda: fresh.complaints("not read again"), "the key does not fit yet")
    with fresh.raw().connect("still", user="boss", password=b"boss"):
        pass
    shutil.copy(pair.key, fresh.broker.folder / "server.key")
    until(lambda: fresh.complaints("INFO:edge_gateway.broker.watch:read again"), "both are there")
    with fresh.raw(ca=other.certificate).connect("new", user="boss", password=b"boss"):
        pass
    with pytest.raises(ssl.SSLCertVerificationError):
        fresh.raw()
    old.send(encode_bare(PINGREQ))
    assert old.next() == Bare(PINGRESP)


def test_another_client_authority_turns_the_old_certificates_away(fresh: Site, tmp_path: Path) -> None:
    other = Authority(tmp_path / "new", "new CA")
    shutil.copy(other.certificate, fresh.broker.folder / "clients.crt")
    fresh.broker.reload()
    until(lambda: fresh.complaints("clients.crt"), "the file is read")
    with fresh.raw(other.client("default/s1")).connect("s1"):
        pass
    with pytest.raises((ssl.SSLError, ConnectionError)):
        fresh.raw(fresh.authority.client("default/s1")).connect("s1")


@pytest.mark.parametrize("broken", ["server.key", "clients.crt"])
def test_a_file_that_cannot_be_used_is_named_at_the_start(tmp_path: Path, authority: Authority, broken: str) -> None:
    site = Site(tmp_path, authority)
    command = site.broker.command()
    (tmp_path / broken).write_text("no PEM")
    config = tmp_path / "edgecore.yaml"
    config.write_text(config.read_text().replace('{"broker"', f'{{"data_dir": "{tmp_path}", "broker"'))
    done = subprocess.run(
        [sys.executable, "-m", "edge_gateway", str(config)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert command
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"the broker's certificates cannot be used: {tmp_path}" in done.stderr.splitlines()[-1]
