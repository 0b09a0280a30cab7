"""What a machine says of itself: on this one, and on made-up ones."""

from pathlib import Path

from edge_gateway.machine import BOARD_LABEL, addresses, describe


def make(root: Path, files: dict[str, str]) -> Path:
    """A machine's files below a folder."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


PI = {
    "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n',
    "etc/machine-id": "abc\n",
    "proc/meminfo": "MemTotal:         926864 kB\nMemFree:  100 kB\nMemAvailable:     600000 kB\n",
    "proc/sys/kernel/random/boot_id": "b-1\n",
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "proc/device-tree/serial-number": "10000000abcdef\0",
    "proc/net/fib_trie": "     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 192.168.1.17\n        /32 host LOCAL\n"
    "     |-- 192.168.1.255\n        /32 link BROADCAST\n",
}


def test_a_pi_is_known_by_its_board_and_serial_number(tmp_path: Path) -> None:
    found = describe(make(tmp_path, PI), tmp_path)
    assert found["labels"] == {BOARD_LABEL: "raspberry-pi-4-model-b-rev-1.4"}
    assert (found["system_uuid"], found["machine_id"], found["boot_id"]) == ("10000000abcdef", "abc", "b-1")
    assert found["os_image"] == "Debian GNU/Linux 13 (trixie)"
    assert found["memory_bytes"] == 926864 * 1024
    assert found["addresses"] == ["192.168.1.17"]


def test_a_machine_that_says_nothing_is_described_all_the_same(tmp_path: Path) -> None:
    found = describe(tmp_path, tmp_path / "not" / "there")
    assert found["labels"] == {}
    assert found["addresses"] == []
    assert isinstance(found["memory_bytes"], int)
    assert isinstance(found["storage_bytes"], int)
    assert found["memory_bytes"] > 0
    assert found["storage_bytes"] > 0


def test_this_machine_has_no_loopback_among_its_addresses() -> None:
    assert not [address for address in addresses() if address.startswith("127.")]
