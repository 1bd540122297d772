from __future__ import annotations

import errno

import pytest

import spp_det.tooling
from spp_det.errors import DataError
from spp_det.tooling import counted, format_seconds, progress, run_tool, track


def code_of(main) -> int:
    with pytest.raises(SystemExit) as caught:
        run_tool(main)
    return int(caught.value.code)


def failing(fault: BaseException):
    def main(_argv):
        raise fault

    return main


def test_one_is_no_plural() -> None:
    assert [counted(count, "image") for count in (0, 1, 2000)] == ["0 images", "1 image", "2,000 images"]


def test_a_command_that_ends_well_exits_with_its_own_code() -> None:
    assert code_of(lambda _argv: 0) == 0
    assert code_of(lambda _argv: 3) == 3


def test_a_users_mistake_is_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(failing(DataError("photo.jpg", "is broken\nin two lines"))) == 1
    assert capsys.readouterr().err == "error: photo.jpg: is broken in two lines\n"


def test_a_full_disk_is_one_line_that_names_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(failing(OSError(errno.ENOSPC, "No space left on device", "runs/x"))) == 1
    assert capsys.readouterr().err == "error: runs/x: No space left on device\n"


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_tool(failing(ZeroDivisionError()))
    with pytest.raises(OSError, match="of ours"):
        run_tool(failing(OSError("of ours")))


def test_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(failing(KeyboardInterrupt())) == 130
    assert "goes on from here" in capsys.readouterr().err


def test_tracking_gives_the_items_and_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spp_det.tooling, "PLAIN_SECONDS", 0.0)
    assert list(track("abc", "letters", done=2)) == ["a", "b", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0].strip() for line in lines] == ["letters: 3/5", "letters: 4/5", "letters: 5/5"]
    assert all("left" in line for line in lines)
    with progress("unknown") as show:
        show(7, None)
    assert capsys.readouterr() == ("", "  unknown: 7/?\n")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4 s"), (12.3, "12 s"), (60, "1 min 00 s"), (185.2, "3 min 05 s"), (7799.9, "2 h 10 min")],
)
def test_seconds_as_people_read_them(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
