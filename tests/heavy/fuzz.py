"""Changed files through every reader: only documented errors come out, in bounded time and memory.

    PYTHONPATH=tests python tests/heavy/fuzz.py --inputs 20000 [--seed 0] [--only jpeg] [--keep FOLDER]

Prints a table, a row a reader. A file for which something else comes out, for which a reader takes over 5 seconds of
processor time or 1 GB of address space more than before, or that ends the process, is kept in FOLDER, and the exit
code is 1.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import signal
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from corpora import Reader, readers, train_tiny
from mutation import mutate
from rich.console import Console
from rich.table import Table
from watching import processor_seconds

from spp_det.errors import SppDetError

SECONDS = 5  # of processor time, for one file
MEMORY = 1 << 30  # bytes of address space, for one file
STUCK = 30  # seconds of processor time without a word from a process: a reader that no signal reaches

Work = Callable[[Reader, str, range, int, Connection], None]


class TooLongError(Exception):
    """A reader took over SECONDS."""


@dataclass
class Outcome:
    """What came of one reader's files. faults: (number of the file, what came out, the file)."""

    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    memory: int = 0  # bytes, the most that the process came to hold over what it began with
    faults: list[tuple[int, str, bytes]] = field(default_factory=list)


def changed_file(reader: Reader, name: str, number: int, seed: int) -> bytes:
    """The file of a number, the same every time."""
    content = mutate(random.Random(f"{seed} {name} {number}"), reader.corpus, reader.text)
    return reader.mend(content) if reader.mend and number % 2 else content


def try_files(reader: Reader, name: str, numbers: range, seed: int, answers: Connection) -> None:
    """In a process of its own: read the files, and say of each how it went."""
    before = bound_process()
    for number in numbers:
        read_one(reader, number, changed_file(reader, name, number, seed), answers, before)
    answers.send(("end",))


def bound_process() -> int:
    """Bound this process's memory, and let its libraries of C say nothing; returns the most it has held, in kB."""
    signal.signal(signal.SIGVTALRM, _too_long)
    warnings.simplefilter("ignore")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    return _peak()


def read_one(reader: Reader, number: int, content: bytes, answers: Connection, before: int) -> None:
    """Read a file, and say how it went. before: what `bound_process` returned."""
    reader.path.parent.mkdir(parents=True, exist_ok=True)
    reader.path.write_bytes(content)
    begin = time.process_time()
    answers.send(("begin", number, begin, content))
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        reader.read(reader.path)
        how, text = "read", ""
    except SppDetError as fault:
        how, text = ("refused", "") if str(fault).strip() else ("fault", "an error without a word")
    except BaseException:
        how, text = "fault", traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    grown = (_peak() - before) * 1024
    answers.send((how, number, text, time.process_time() - begin, grown))


def _peak() -> int:
    """kB that this process has held at most; what getrusage says counts its parent's, too."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def _too_long(*_: object) -> None:
    raise TooLongError


def fuzz(reader: Reader, name: str, inputs: int, seed: int, work: Work) -> Outcome:
    """A reader's files in a process, which does the work and is started again behind a file that ends it."""
    context, outcome, start = multiprocessing.get_context("fork"), Outcome(), 0
    while start < inputs:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(reader, name, range(start, inputs), seed, theirs))
        process.start()
        theirs.close()
        start = _listen(ours, process, outcome, start, inputs)
        process.kill()
        process.join()
    return outcome


def _listen(answers: Connection, process: Any, outcome: Outcome, start: int, inputs: int) -> int:
    """Take a process's answers; returns with which file another has to go on."""
    number, used, content = start, 0.0, b""
    while True:
        try:
            while not answers.poll(10):
                if processor_seconds(process.pid) - used > STUCK:
                    outcome.faults.append((number, f"nothing for {STUCK} s", content))
                    return number + 1
            answer: tuple[Any, ...] = answers.recv()
        except EOFError:
            outcome.faults.append((number, "the process ended", content))
            return number + 1
        if answer[0] == "end":
            return inputs
        number = answer[1]
        if answer[0] == "begin":
            used, content = answer[2:]
            continue
        how, _, text, seconds, grown = answer
        outcome.read += how == "read"
        outcome.refused += how == "refused"
        outcome.slowest, outcome.memory = max(outcome.slowest, seconds), max(outcome.memory, grown)
        if how == "fault":
            outcome.faults.append((number, text, content))


def main(work: Work = try_files, description: str | None = __doc__) -> int:
    """Parse the arguments, and read. work: what makes the files and reads them."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000, help="files in all (20000)")
    parser.add_argument("--seed", type=int, default=0, help="other files (0)")
    parser.add_argument("--only", nargs="+", metavar="READER", help="these alone")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-faults"), help="the folder for faults (fuzz-faults)")
    args = parser.parse_args()
    os.environ["SPP_DET_TRUST"] = "reference"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        maker = multiprocessing.get_context("fork").Process(target=train_tiny, args=(place,))
        maker.start()  # apart: a process whose threads have worked cannot be forked
        maker.join()
        (place / "files").mkdir()
        known = readers(place / "files", place / "run")
        chosen = {name: known[name] for name in args.only or known}
        each = -(-args.inputs // len(chosen))
        outcomes = {}
        for name, reader in chosen.items():
            outcomes[name] = fuzz(reader, name, each, args.seed, work)
            for number, text, content in outcomes[name].faults:
                kept = args.keep / f"{name.replace(' ', '_').replace(':', '')}_{number}"
                args.keep.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(content)
                kept.with_suffix(".txt").write_text(text)
    show(outcomes, each)
    return int(any(outcome.faults for outcome in outcomes.values()))


def show(outcomes: dict[str, Outcome], each: int) -> None:
    """The table, and of each kind of fault the first."""
    console = Console(width=110, highlight=False, markup=False)
    table = Table("reader", "read", "refused", "slowest, s", "memory, MB", "faults")
    for name, one in outcomes.items():
        cells = (one.read, one.refused, f"{one.slowest:.2f}", one.memory >> 20, len(one.faults))
        table.add_row(name, *map(str, cells))
    console.print(table)
    console.print(f"{each * len(outcomes)} files, {sum(len(one.faults) for one in outcomes.values())} faults")
    for name, one in outcomes.items():
        kinds = Counter(text.strip().splitlines()[-1][:100] for _, text, _ in one.faults)
        for kind, count in kinds.items():
            console.print(f"{name}: {count}x {kind}", soft_wrap=True)


if __name__ == "__main__":
    raise SystemExit(main())
