"""Transcripts: what is waited for is found once, also when the file is set aside meanwhile."""

from pathlib import Path

import pytest

from hil_tests.bench.transcript import BoardError, Transcript

PIECE = b"." * 600_000


def test_what_was_expected_is_not_found_again(tmp_path: Path) -> None:
    transcript = Transcript(tmp_path / "log")
    transcript.write(b"one one")
    transcript.expect("one")
    transcript.expect("one")
    with pytest.raises(BoardError, match="'one' not within 0 s"):
        transcript.expect("one", 0)


def test_what_was_there_before_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"old")
    transcript = Transcript(tmp_path / "log")
    transcript.write(b"new")
    transcript.expect("new", 0)
    with pytest.raises(BoardError):
        Transcript(tmp_path / "log").expect("old", 0)


def test_megabytes_of_text_are_bounded_and_what_comes_after_them_is_found(tmp_path: Path) -> None:
    transcript = Transcript(tmp_path / "log")
    for number in range(12):
        transcript.write(b"number %d|" % number + PIECE)
        assert transcript.expect(r"number \d+\|", 0).group() == f"number {number}|"
    assert len(transcript.text()) < 3 << 20
    transcript.write(b"the end")
    transcript.expect("the end", 0)
    with pytest.raises(BoardError):
        transcript.expect("number", 0)
