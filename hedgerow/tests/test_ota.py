"""`hedgerow ota`: from a key to a bundle that a board would take, and what it says when something is wrong."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from device_fw.tools import firmware, image, signing
from hedgerow.__main__ import app

BOARD_FILE = """
board: unix
name: default/greenhouse
properties:
  temperature: {driver: simulated}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs, with umqtt.simple as fetched before."""
    umqtt = firmware.umqtt_simple(Path(__file__).parents[2] / firmware.CACHE)
    (tmp_path / firmware.CACHE).mkdir(parents=True)
    (tmp_path / firmware.CACHE / umqtt.name).write_bytes(umqtt.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["ota", *arguments])


def refused(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 1
    return result.output


def test_from_a_key_and_a_board_file_to_a_bundle(folder: Path) -> None:
    Path("greenhouse.yaml").write_text(BOARD_FILE)
    assert run("keygen", "site.key").exit_code == 0
    result = run("build", "greenhouse.yaml", "--key", "site.key", "--version", "1.4.2")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("unix-1.4.2.hfw: 1.4.2 for unix, counter 1004002")
    built = image.load(folder / "unix-1.4.2.hfw")
    assert signing.verified(signing.load_public(Path("site.key.pub")), built.manifest, built.signature)
    assert "main.py" in built.files
    assert "device_fw/firmware/update_parts.mpy" in built.files
    assert built.described.mpy.startswith("6.")


def test_a_bundle_is_shown_and_its_signature_checked(folder: Path) -> None:
    Path("src").mkdir()
    Path("src/main.py").write_text("print(1)\n")
    run("keygen", "site.key")
    run("keygen", "other.key")
    arguments = ("--key", "site.key", "--version", "2.0", "--board", "pico", "--plain", "-o", "x.hfw", "--counter", "9")
    assert run("build", "src", *arguments).exit_code == 0
    shown = run("show", "x.hfw", "--files", "--key", "site.key.pub")
    assert shown.exit_code == 0
    for text in ("pico", "2.0", "9", "none, sources", "by site.key.pub", "main.py"):
        assert text in shown.output
    assert "not checked" in run("show", "x.hfw").output
    assert "NOT by other.key.pub" in refused("show", "x.hfw", "--key", "other.key.pub")


def test_what_is_wrong_is_said(folder: Path) -> None:
    run("keygen", "site.key")
    assert "there already" in refused("keygen", "site.key")
    Path("src").mkdir()
    assert "no main.py" in refused("build", "src", "--key", "site.key", "--version", "1", "--board", "pico")
    Path("src/main.py").write_text("print(1)\n")
    assert "--board is needed" in refused("build", "src", "--key", "site.key", "--version", "1")
    board = ("build", "src", "--board", "pico")
    assert "cannot read the key" in refused(*board, "--key", "none.key", "--version", "1")
    assert "give a counter" in refused(*board, "--key", "site.key", "--version", "nightly")
    assert "cannot write" in refused(*board, "--key", "site.key", "--version", "1", "-o", "none/x.hfw")
    Path("src/bad.py").write_text("def f(:\n")
    assert "bad.py, line 1" in refused(*board, "--key", "site.key", "--version", "1")
    Path("x.hfw").write_text("nothing")
    assert "no firmware bundle" in refused("show", "x.hfw")
