"""edgecore as a process: what it says and how it exits when it cannot run."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml


def run(folder: Path, **settings: object) -> tuple[int, str]:
    """Exit status, and what it said: only what cannot run ends."""
    file = folder / "edgecore.yaml"
    file.write_text(yaml.safe_dump({"data_dir": str(folder / "edge"), "broker": {"port": 0}, **settings}))
    command = [sys.executable, "-m", "edge_gateway", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, "".join(line for line in done.stderr.splitlines(True) if " INFO " not in line)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"brokr": {}}, "unknown key `brokr` in edgecore.yaml: did you mean `broker`?"),
        ({"broker": {"port": "many"}}, "`broker.port` in edgecore.yaml: expected `int | null`, got `str`"),
        (
            {"edged": {"images": {"high_percent": 70}}},
            "`edged.images` in edgecore.yaml: `low_percent` is below `high_percent`, and both are from 0 to 100",
        ),
    ],
)
def test_a_configuration_that_cannot_be_used_is_explained(
    tmp_path: Path, settings: dict[str, object], said: str
) -> None:
    assert run(tmp_path, **settings) == (2, f"edgecore: {said}\n")


def test_missing_certificates_are_named(tmp_path: Path) -> None:
    status, said = run(tmp_path, cloud={"url": "wss://127.0.0.1:1"})
    pki = tmp_path / "edge" / "pki"
    files = f"{pki}/ca.crt, {pki}/node.crt, {pki}/node.key"
    assert said == f"edgecore: certificates for the cloud cannot be used: {files}: No such file or directory\n"
    assert status == 2


def test_a_certificate_that_is_none_is_named(tmp_path: Path) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_text("no certificate")
    status, said = run(tmp_path, cloud={"url": "wss://127.0.0.1:1", "ca": str(ca)})
    assert said.startswith(f"edgecore: certificates for the cloud cannot be used: {ca}, ")
    assert said.count("\n") == 1
    assert status == 2


def test_a_store_that_is_none_ends_it_with_a_line(tmp_path: Path) -> None:
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge" / "edge.db").write_bytes(b"no database" * 1000)
    status, said = run(tmp_path)
    assert said == f"edgecore: cannot open the store {tmp_path}/edge/edge.db: file is not a database\n"
    assert status == 1


def test_a_port_that_is_taken_ends_it_with_a_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        status, said = run(tmp_path, broker={"port": port})
    assert said.startswith(f"edgecore: MQTT broker cannot serve 127.0.0.1:{port}: ")
    assert said.count("\n") == 1
    assert status == 1
