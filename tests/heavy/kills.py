"""Runs that are killed (SIGKILL) at a random moment and started again: do they end in the bytes of one that was not?

    PYTHONPATH=tests python tests/heavy/kills.py --kills 200 [--first 0] [--seed 0]

A run is training on *shapes* and testing, all stages that keep something, with a tiny trunk. Every second kill comes at
a random second of its processor time, the others at one of all moments at which a run opens, renames, makes or removes
a file, where something could be left by halves. Prints how many kills came in which stage, and exits with 1 where a run
ended otherwise. Each kill hangs on its own number alone, so that `--first` goes on after a part.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from reference.tiny_run import tiny_config
from watching import processor_seconds

from spp_det.pipeline import evaluate_run, train
from spp_det.proposals import selective_search

OTHER_EACH_TIME = ("run.json", "training.json", "metrics.json")  # seconds and folders are in them
EVENTS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir")


def work(folder: Path, shapes: Path) -> None:
    """All stages: those of training, and of testing."""
    train(tiny_config(shapes), folder / "run")
    evaluate_run(folder / "run")


def forked(job: Callable[[], None], log: Path) -> int:
    """The id of a child that does a job on one core, its words in a file, and ends with 0 where all went well."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.sched_setaffinity(0, {random.choice(sorted(os.sched_getaffinity(0)))})
        with log.open("w") as words:
            os.dup2(words.fileno(), 1)
            os.dup2(words.fileno(), 2)
        job()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException as fault:
        print(f"{type(fault).__name__}: {fault}", flush=True)
    finally:
        os._exit(code)


def count_events(act: Callable[[int], None], folder: Path) -> None:
    """Call `act` with the number of each moment at which the process is about to touch a file below the folder."""
    count, root = 0, str(folder)

    def hook(event: str, args: tuple[object, ...]) -> None:
        nonlocal count
        if event in EVENTS and args and str(args[0]).startswith(root):
            count += 1
            act(count)

    sys.addaudithook(hook)


def killed_at(number: int, folder: Path) -> Callable[[int], None]:
    """Ends the process at an event."""

    def act(count: int) -> None:
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return act


def artefacts(folder: Path) -> dict[str, bytes]:
    """Every file that a run leaves, but those with seconds in them, locks, how old the images are (the folder `check`),
    where runs are that use a stage (`uses`), and what a kill may leave aside.
    """
    files = [file for file in folder.rglob("*") if file.is_file() and file.name not in OTHER_EACH_TIME]
    files = [
        file for file in files if file.suffix != ".lock" and not {"check", "uses"} & set(file.relative_to(folder).parts)
    ]
    return {str(f.relative_to(folder)): f.read_bytes() for f in files if not f.name.startswith(".")}


def undisturbed(folder: Path, shapes: Path, log: Path) -> tuple[dict[str, bytes], float, int]:
    """The files of a run that nobody stops, its seconds of processor time, and its events."""
    counted = folder.with_suffix(".events")

    def job() -> None:
        with counted.open("w", buffering=1) as file:
            count_events(lambda count: print(count, file=file), folder)
            work(folder, shapes)

    _, status, used = os.wait4(forked(job, log), 0)
    if status:
        raise SystemExit(f"the undisturbed run failed: {log.read_text()}")
    return artefacts(folder), used.ru_utime + used.ru_stime, len(counted.read_text().split())


def kill_once(number: int, rng: random.Random, folder: Path, shapes: Path, seconds: float, events: int) -> bool:
    """Begin a run and kill it; whether it was still going."""
    log = folder.with_suffix(".killed.log")
    if number % 2:
        at = rng.randint(1, events)

        def job() -> None:
            count_events(killed_at(at, folder), folder)
            work(folder, shapes)

        _, status = os.waitpid(forked(job, log), 0)
    else:
        child = forked(lambda: work(folder, shapes), log)
        until = rng.uniform(0, seconds)
        while processor_seconds(child) < until:
            time.sleep(0.005)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def stage_of(folder: Path) -> str:
    """How far a killed run had come: its last stage with something in it."""
    store = folder / "store"
    reached = [stage for stage in ("check", "proposals", "maps", "finetune", "svm", "regress", "detect")
               if (store / stage).exists()]  # fmt: skip
    if (folder / "run" / "metrics.json").exists():
        return "metrics"
    return reached[-1] if reached else "before the first"


def killed_runs(numbers: range, seed: int, place: Path) -> Iterator[tuple[str, list[str]]]:
    """For each kill the stage that it came in, and what was wrong in the end."""
    shapes = place / "shapes"
    expected, seconds, events = undisturbed(place / "undisturbed", shapes, place / "undisturbed.log")
    expected, seconds, events = undisturbed(place / "again", shapes, place / "again.log")  # with the images there
    print(f"undisturbed: {seconds:.1f} s, {len(expected)} files, {events} moments to be killed at", flush=True)
    for number in numbers:
        rng, folder = random.Random(f"{seed} {number}"), place / f"run{number}"
        while not kill_once(number, rng, folder, shapes, seconds, events):
            shutil.rmtree(folder)  # it had ended before
        stage = stage_of(folder)
        log = folder.with_suffix(".log")
        _, status = os.waitpid(forked(lambda: work(folder, shapes), log), 0)  # noqa: B023 - it is awaited
        found = artefacts(folder)
        wrong = [path for path in {**expected, **found} if found.get(path) != expected.get(path)]
        yield stage, [log.read_text()[-300:]] if status else wrong
        shutil.rmtree(folder)


def main() -> int:
    """Parse the arguments, and kill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="so many (200)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first (0)")
    parser.add_argument("--seed", type=int, default=0, help="other moments (0)")
    args = parser.parse_args()
    os.environ["SPP_DET_TRUST"] = "reference"
    selective_search(np.zeros((40, 40, 3), np.uint8))  # loads its compiled functions, once for all children
    stages: Counter[str] = Counter()
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        numbers = range(args.first, args.first + args.kills)
        for number, (stage, wrong) in enumerate(killed_runs(numbers, args.seed, Path(folder)), 1):
            stages[stage] += 1
            faults += bool(wrong)
            for each in wrong[:5]:
                print(f"run {numbers[number - 1]}, killed in {stage}: {each}", flush=True)
            if number % 10 == 0:
                print(f"{number} kills, {faults} faults", flush=True)
    print(", ".join(f"{stage} {count}" for stage, count in stages.most_common()))
    print(f"{args.kills} runs killed and resumed, {args.kills - faults} ended in the same bytes")
    return int(faults > 0)


if __name__ == "__main__":
    raise SystemExit(main())
