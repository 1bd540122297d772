"""Whether the other processes of a run are still there.

torchrun notices at once when a process on its own machine dies. A machine that is switched off says nothing, and who
waits for it would wait for ever: so each process counts on in the store, and looks whether the others do.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist

BEAT = 1.0  # s
SILENCE = "SPP_DET_SILENCE"  # the environment's name for the beats after which a silent process counts as dead
DEFAULT_SILENCE = 30


@contextmanager
def heartbeat(store: dist.Store, rank: int, world: int) -> Iterator[None]:
    """Within the block, end this process with exit code 1 when another one falls silent, or the store does.

    The first watches all, and all watch the first. One that is to be started again by torchrun cannot be ended more
    gently: it may be waiting where nothing interrupts it.
    """
    pulse = _Pulse(store.clone(), rank, world)
    for work in (pulse.beat, pulse.watch):
        threading.Thread(target=work, daemon=True, name="heartbeat").start()
    try:
        yield
    finally:
        pulse.stop.set()


class _Pulse:
    """What the two threads share: one talks to the store, which may never answer, the other counts the seconds."""

    def __init__(self, store: dist.Store, rank: int, world: int) -> None:
        self.store, self.rank, self.world = store, rank, world
        self.watched = range(1, world) if rank == 0 else range(1)
        self.limit = int(os.environ.get(SILENCE, DEFAULT_SILENCE))
        self.heard = {"the store": 0} | {f"process {other} of {world}": -1 for other in self.watched}
        self.stop = threading.Event()

    def beat(self) -> None:
        """Count on, and hear how far the others have counted."""
        while not self.stop.wait(BEAT):
            try:
                self.store.add(f"beat/{self.rank}", 1)
                for other in self.watched:
                    self.heard[f"process {other} of {self.world}"] = self.store.add(f"beat/{other}", 0)
            except dist.DistError:
                return  # it has gone: the other thread will find it silent
            self.heard["the store"] += 1

    def watch(self) -> None:
        """End this process when another has not counted on for too long, as seconds go here, where it runs at all."""
        last, silent = dict(self.heard), dict.fromkeys(self.heard, 0)
        while not self.stop.wait(BEAT):
            for name, count in list(self.heard.items()):
                silent[name] = silent[name] + 1 if count == last[name] else 0
                last[name] = count
                if silent[name] >= self.limit and not self.stop.is_set():
                    print(
                        f"error: {name} has been silent for {self.limit} s: no run without it",
                        file=sys.stderr,
                        flush=True,
                    )
                    os._exit(1)
