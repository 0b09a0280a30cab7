"""Cgroups as files: which settings are written, and what is done without. The kernel's own part is in `test_process`."""

from pathlib import Path

import pytest

from edge_gateway.edged.cgroups import PIDS, Cgroups


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.procs").touch()
    return tmp_path


def test_limits_are_written_as_the_kernel_has_them(top: Path) -> None:
    folder = Path(Cgroups("edge1", top).make("u1/c/0", {"memory": "64Mi", "cpu": "250m"}))
    assert folder == top / "hedgerow-edge1" / "u1_c_0"
    assert (folder / "memory.max").read_text() == str(64 << 20)
    assert (folder / "cpu.max").read_text() == "25000 100000"
    assert (folder / "pids.max").read_text() == str(PIDS)


def test_without_limits_only_forking_is_bounded(top: Path) -> None:
    folder = Path(Cgroups("edge1", top).make("u1/c/0", {}))
    assert [file.name for file in folder.iterdir()] == ["pids.max"]


def test_a_run_that_the_kernel_killed_for_its_memory_is_told_from_others(top: Path) -> None:
    cgroups = Cgroups("edge1", top)
    folder = Path(cgroups.make("u1/c/0", {}))
    assert not cgroups.out_of_memory("u1/c/0")
    (folder / "memory.events").write_text("low 0\nmax 9\noom 1\noom_kill 0\n")
    assert not cgroups.out_of_memory("u1/c/0")
    (folder / "memory.events").write_text("low 0\nmax 9\noom 1\noom_kill 2\n")
    assert cgroups.out_of_memory("u1/c/0")


def test_a_machine_without_cgroups_does_without(tmp_path: Path) -> None:
    cgroups = Cgroups("edge1", tmp_path)
    assert cgroups.make("u1/c/0", {"memory": "64Mi"}) == ""
    cgroups.remove("u1/c/0")
    cgroups.sweep()
    assert list(tmp_path.iterdir()) == []


def test_in_a_hybrid_hierarchy_it_is_the_unified_one(tmp_path: Path) -> None:
    (tmp_path / "unified").mkdir()
    (tmp_path / "unified" / "cgroup.procs").touch()
    assert Cgroups("edge1", tmp_path).make("u1/c/0", {}).startswith(str(tmp_path / "unified"))
