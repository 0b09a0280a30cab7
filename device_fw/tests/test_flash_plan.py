"""What must change on a board, from any state to any other."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from device_fw.tools.flash_plan import PART, Present, Remove, Step, Write, differences, lacking, steps

PATHS = st.sampled_from(
    ["main.py", "boot.py", "config.json", "a/one.py", "a/two.py", "b/x/y.py", "own/state", "notes.txt"]
)
FILES = st.dictionaries(PATHS, st.binary(max_size=20))


def held(files: dict[str, bytes]) -> dict[str, Present]:
    return {path: Present(len(content), hashlib.sha256(content).hexdigest()) for path, content in files.items()}


def carried_out(plan: list[Step], files: dict[str, bytes], until: int) -> dict[str, bytes]:
    """The board after so many steps, and half of the next."""
    board = dict(files)
    for number, step in enumerate(plan[: until + 1]):
        if number == until:
            if isinstance(step, Write):
                board[step.path + PART] = step.content[: len(step.content) // 2]
        elif isinstance(step, Write):
            board[step.path] = step.content
        else:
            del board[step.path]
    return board


@given(FILES, FILES, st.integers(0, 20))
def test_a_plan_made_anew_after_any_interruption_leads_to_the_same_board(
    wanted: dict[str, bytes], there: dict[str, bytes], at: int
) -> None:
    plan = steps(wanted, held(there), kept=("own",))
    whole = carried_out(plan, there, len(plan))
    cut = carried_out(plan, there, at)
    again = carried_out(steps(wanted, held(cut), kept=("own",)), cut, 100)
    assert again == whole
    assert not differences(wanted, held(again))
    assert steps(wanted, held(again), kept=("own",)) == []


@given(FILES, FILES)
def test_what_is_others_stays(wanted: dict[str, bytes], there: dict[str, bytes]) -> None:
    removed = {step.path for step in steps(wanted, held(there), kept=("own",)) if isinstance(step, Remove)}
    tops = {path.partition("/")[0] for path in wanted if "/" in path}
    assert removed == {p for p in there if p not in wanted and "/" in p and p.partition("/")[0] in tops - {"own"}}


def test_half_written_files_go_and_a_named_folder_goes_whole() -> None:
    there = held({"main.py.part": b"", "b/old.py": b"", "c/theirs.py": b""})
    assert steps({}, there, gone=("b",)) == [Remove("b/old.py"), Remove("main.py.part")]


def test_what_starts_the_firmware_is_written_last() -> None:
    wanted = {"boot.py": b"", "main.py": b"", "z/last.py": b"", "a.py": b""}
    assert [step.path for step in steps(wanted, {})] == ["a.py", "z/last.py", "boot.py", "main.py"]


def test_room_is_needed_for_the_new_file_beside_the_old_one() -> None:
    there = {"a.py": Present(5000, "")}
    plan: list[Step] = [Write("a.py", b"x" * 5000)]
    assert lacking(plan, there, 8192, 4096) == 0
    assert lacking(plan, there, 8191, 4096) == 1
    assert lacking([Remove("a.py"), Write("b.py", b"x" * 5000)], there, 0, 4096) == 0
    assert lacking([Write("b.py", b""), Write("c.py", b"x")], {}, 4095, 4096) == 1
