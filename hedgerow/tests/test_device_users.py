"""The devices' users in a users' file: what the broker makes of it, and that the rest stays as it was."""

from pathlib import Path

import pytest
import yaml

from edge_gateway.broker.passwords import hash_password
from edge_gateway.broker.users import load_users
from hedgerow.device_users import DeviceUsers, UsersFileError

HASH = hash_password("other")
STYLES = {
    "missing": None,
    "empty": "",
    "empty list": "# ours\nusers: []\n",
    "indented": f"# ours\nusers:\n  - name: modbus   # PLCs\n    password: {HASH}\n    role: mapper\n",
    "not indented": f"users:\n- name: modbus\n  password: {HASH}\n  role: mapper",
    "in brackets": f'users: [{{name: modbus, password: "{HASH}", role: mapper}}]\n',
}


@pytest.mark.parametrize("style", STYLES)
def test_a_device_is_entered_whatever_the_file_looks_like(tmp_path: Path, style: str) -> None:
    path = tmp_path / "users.yaml"
    text = STYLES[style]
    if text is not None:
        path.write_text(text)
    users = DeviceUsers(path)
    assert not users.accepts("default/b1", "secret")
    users.store("default/b1", "secret", "default/b1")
    users.store("default/b2", "other secret", "default/b2")
    assert users.accepts("default/b1", "secret")
    assert users.accepts("default/b2", "other secret")
    assert not users.accepts("default/b1", "other secret")
    found = load_users(path)
    user = found.check("default/b1", b"secret")
    assert user is not None
    assert user.may_publish("$hw/events/device/default/b1/twin/update")
    assert not user.may_publish("$hw/events/device/default/b2/twin/update")
    if text and "modbus" in text:
        assert found.check("modbus", b"other") is not None
    if text and "# ours" in text:
        assert "# ours" in path.read_text()
    assert "secret" not in path.read_text()


def test_a_new_password_replaces_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "users.yaml"
    users = DeviceUsers(path)
    users.store("default/b1", "first", "default/b1")
    path.write_text("# by hand\n" + path.read_text())
    path.chmod(0o640)
    users.store("default/b1", "second", "default/b1")
    assert users.accepts("default/b1", "second")
    assert not users.accepts("default/b1", "first")
    assert path.read_text().startswith("# by hand\n")
    assert path.stat().st_mode & 0o777 == 0o640
    assert len(yaml.safe_load(path.read_text())["users"]) == 1


def test_a_new_file_is_nobody_elses_to_read(tmp_path: Path) -> None:
    DeviceUsers(tmp_path / "edge" / "users.yaml").store("default/b1", "x", "default/b1")
    assert (tmp_path / "edge" / "users.yaml").stat().st_mode & 0o777 == 0o600


def test_a_user_without_a_password_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "users.yaml"
    path.write_text("users:\n  - name: default/b1\n    device: default/b1\n")
    with pytest.raises(UsersFileError, match="without a password: give it one"):
        DeviceUsers(path).store("default/b1", "x", "default/b1")


def test_a_wrong_file_is_named_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "users.yaml"
    path.write_text("users:\n  - nmae: x\n")
    with pytest.raises(UsersFileError, match=r"users\.yaml"):
        DeviceUsers(path).store("default/b1", "x", "default/b1")
    assert path.read_text() == "users:\n  - nmae: x\n"
