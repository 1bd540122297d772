"""What happens to a run on a full disk, on one that cannot be written, with files deleted under it, with a clock that
was set back, and beside another run. Each is done to a real run, which goes on and must end in the bytes of one that
had peace.

    PYTHONPATH=tests python tests/heavy/faults.py

Needs root, for small disks in memory (tmpfs). Prints a row a fault: the exit code, what was said, and whether the bytes
are the same in the end; exits with 1 where a fault had another end than a line and code 1, or the bytes differ.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from kills import artefacts, count_events, forked, undisturbed, work
from rich.console import Console

from spp_det.proposals import selective_search
from spp_det.tooling import run_tool

Bytes = dict[str, bytes]
HALF = 120  # of the 300 moments at which a run touches a file: maps are being made


def tool(folder: Path, shapes: Path) -> None:
    """A run as a command does it, with a line and a code for the user's mistakes."""

    def main(_: object) -> int:
        work(folder, shapes)
        return 0

    run_tool(main)


def run(job: Callable[[], None], log: Path) -> tuple[int, str]:
    """The exit code of a job in a process of its own, and its last line."""
    code = wait(forked(job, log))
    return code, last_line(log)


def wait(child: int) -> int:
    """A child's exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def last_line(log: Path) -> str:
    """What was said last; of a traceback, that there was one."""
    text = log.read_text()
    return "TRACEBACK " + text[-200:] if "Traceback" in text else (text.strip().splitlines() or [""])[-1]


@contextmanager
def disk(place: Path, kilobytes: int) -> Iterator[Path]:
    """A disk of that size."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def remount(place: Path, option: str) -> bool:
    """Change a disk; whether it could be, which it cannot be to read-only while a file is open for writing."""
    return not subprocess.run(["mount", "-o", f"remount,{option}", place], capture_output=True, check=False).returncode


def fill(path: Path) -> None:
    """A file that takes what is left of its disk."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def full_disk(place: Path, shapes: Path, expected: Bytes) -> tuple[int, str, Bytes]:
    """A disk that something else fills when the run is half-way."""
    with disk(place, 50_000) as folder:

        def job() -> None:
            count_events(lambda count: fill(folder / "other") if count == HALF else None, folder)
            tool(folder, shapes)

        code, said = run(job, place.with_suffix(".log"))
        (folder / "other").unlink()
        run(lambda: tool(folder, shapes), place.with_suffix(".again.log"))
        return code, said, artefacts(folder)


def read_only(place: Path, shapes: Path, expected: Bytes) -> tuple[int, str, Bytes]:
    """A disk that becomes read-only when the run is half-way."""
    with disk(place, 50_000) as folder:
        done: list[int] = []

        def act(count: int) -> None:
            if count >= HALF and not done and remount(folder, "ro"):
                done.append(count)

        def job() -> None:
            count_events(act, folder)
            tool(folder, shapes)

        code, said = run(job, place.with_suffix(".log"))
        remount(folder, "rw")
        run(lambda: tool(folder, shapes), place.with_suffix(".again.log"))
        return code, said, artefacts(folder)


def deleted(place: Path, shapes: Path, expected: Bytes) -> tuple[int, str, Bytes]:
    """The maps are deleted while fine-tuning reads them."""
    store = place / "store"

    done: list[int] = []

    def act(count: int) -> None:
        if not done and (store / "finetune").exists():
            done.append(count)
            for path in (store / "maps").rglob("*"):
                if path.is_file() and path.name != "stage.json":
                    path.unlink()

    def job() -> None:
        count_events(act, place)
        tool(place, shapes)

    code, said = run(job, place.with_suffix(".log"))
    command = [sys.executable, "-m", "spp_det.cli", "cache", "verify", "--repair", str(store)]
    subprocess.run(command, capture_output=True, check=False)
    run(lambda: tool(place, shapes), place.with_suffix(".again.log"))
    return code, said, artefacts(place)


def clock_set_back(place: Path, shapes: Path, expected: Bytes) -> tuple[int, str, Bytes]:
    """Half a run, whose files then come from tomorrow; nothing is said, since nothing depends on it."""
    half = forked(lambda: work(place, shapes), place.with_suffix(".killed.log"))
    while not (place / "store" / "svm").exists() and os.waitpid(half, os.WNOHANG) == (0, 0):
        time.sleep(0.01)
    os.kill(half, 9)
    os.waitpid(half, 0)
    tomorrow = time.time() + 86_400
    for path in [*place.rglob("*"), *shapes.rglob("*")]:
        os.utime(path, (tomorrow, tomorrow))
    code, said = run(lambda: tool(place, shapes), place.with_suffix(".log"))
    return code, said, artefacts(place)


def two_runs(place: Path, shapes: Path, expected: Bytes) -> tuple[int, str, Bytes]:
    """Two runs into one folder: one ends well; the other is refused, or waits and finds the work done."""
    logs = [place.with_suffix(f".{number}.log") for number in range(2)]
    codes = [wait(child) for child in [forked(lambda: tool(place, shapes), log) for log in logs]]
    other = int(codes[0] == 0)
    return codes[other], last_line(logs[other]), artefacts(place) if 0 in codes else {}


FAULTS = {
    "a full disk": (full_disk, {1}),
    "a disk that becomes read-only": (read_only, {1}),
    "files deleted under a stage": (deleted, {1}),
    "a clock set back by a day": (clock_set_back, {0}),
    "two runs into one folder": (two_runs, {0, 1}),
}


def main() -> int:
    """Do each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(FAULTS), default=list(FAULTS), help="these alone")
    chosen = parser.parse_args().only
    console = Console(width=200, highlight=False, markup=False)
    os.environ["SPP_DET_TRUST"] = "reference"
    selective_search(np.zeros((40, 40, 3), np.uint8))
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        place, shapes = Path(folder), Path(folder) / "shapes"
        expected, _, _ = undisturbed(place / "peace", shapes, place / "peace.log")
        for number, (name, (fault, codes)) in enumerate((name, FAULTS[name]) for name in chosen):
            code, said, found = fault(place / f"run{number}", shapes, expected)
            same = found == expected
            bad += not same or code not in codes or "TRACEBACK" in said
            said = said.replace(str(place), "..")
            console.print(
                f"| {name} | {code} | {said} | {'the same bytes' if same else 'OTHER BYTES'} |", soft_wrap=True
            )
    return int(bad > 0)


if __name__ == "__main__":
    raise SystemExit(main())
