"""The processes of one run: alone, or as torchrun starts them (torchrun.py), over GPUs and machines.

What they share is dealt by one counter in torchrun's store: whoever is free takes the next piece. Only those that
compute gradients together, a team (team.py), talk to each other.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from spp_det.tooling import progress

if TYPE_CHECKING:  # `spp-det status` has no time for torch
    import torch
    import torch.distributed as dist

T = TypeVar("T")
R = TypeVar("R")
PATIENCE = timedelta(days=20)  # a stage of another process may last; one that has died is torchrun's to notice
LOOK_EVERY = 0.01  # s, between two looks at what the others do
PIECE = 4 << 20  # bytes: torchrun's store takes no value of more than 8 MB, and 200,000 images' names are more


@dataclass(frozen=True)
class Processes:
    """Which process this is, of how many, and what they do together; all of them make the same calls in one order.

    rank: of `world`; local_rank: likewise, on this machine; store: where they count together, None where there is
    one. gpu: the number of one that is this process's own.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    gpu: int | None = None
    store: dist.Store | None = None
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    @property
    def first(self) -> bool:
        """Whether it is this one that speaks, and writes what is one for all."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """This process's GPU, or the CPU."""
        import torch

        return torch.device("cpu") if self.gpu is None else torch.device("cuda", self.gpu)

    @property
    def many(self) -> str:
        """ ", 4 processes", or "" of one: to end a line with."""
        return f", {self.world} processes" if self.world > 1 else ""

    def wait(self) -> None:
        """Until all are here."""
        if self.store is not None:
            key = self.new_key()
            if self.store.add(key, 1) == self.world:
                self.store.set(f"{key}/all", "")
            self.store.wait([f"{key}/all"], PATIENCE)

    def agree(self, decide: Callable[[], T]) -> T:
        """What the first process decides, a JSON-like value: for what may look otherwise a moment later."""
        if self.store is None:
            return decide()
        key = self.new_key()
        if not self.first:
            return _hear(self.store, key)
        value = decide()
        _tell(self.store, key, value)
        return value

    def gather(self, value: Any) -> list[Any]:
        """The JSON-like values of all processes, by rank, in each of them."""
        if self.store is None:
            return [value]
        key = self.new_key()
        _tell(self.store, f"{key}/{self.rank}", value)
        return [_hear(self.store, f"{key}/{rank}") for rank in range(self.world)]

    def deal(self, items: Sequence[T]) -> Iterator[T]:
        """The items, in order, each to one process: to whichever is free first."""
        return iter(items) if self.store is None else self._taken(self.store, self.new_key(), items)

    def _taken(self, store: dist.Store, key: str, items: Sequence[T]) -> Iterator[T]:
        while (number := store.add(key, 1) - 1) < len(items):
            yield items[number]

    def share(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """The JSON-like results of all items, in order, each computed by one process and known to all."""
        if self.store is None:
            return [work(item) for item in items]
        found = [[number, work(items[number])] for number in self.deal(range(len(items)))]
        return [result for _, result in sorted(itertools.chain(*self.gather(found)), key=lambda pair: pair[0])]

    def counter(self, start: int = 0) -> Callable[[int], int]:
        """A function that adds to a number which all processes count together, and returns it."""
        if self.store is not None:
            store, key = self.store, self.new_key()
            return lambda more: start + store.add(key, more)
        count = start

        def add(more: int) -> int:
            nonlocal count
            count += more
            return count

        return add

    @contextmanager
    def progress(self, title: str, total: int, done: int = 0, unit: str = "images") -> Iterator[Callable[[], None]]:
        """A function to call after each step, of all processes' steps; the first shows them, and all leave together.

        total: steps of all, of which `done` were there before.
        """
        count = self.counter(done)
        with progress(title, done, unit) as show:
            yield lambda: show(count(1), total)
            while self.store is not None and self.first and (so_far := count(0)) < total:
                show(so_far, total)
                time.sleep(LOOK_EVERY)
        self.wait()

    @contextmanager
    def first_ahead(self) -> Iterator[None]:
        """The first process goes through the block before the others, which find what it made or downloaded there."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def new_key(self) -> str:
        """A name in the store, another with each call, and the same in all processes."""
        return str(next(self._numbers))


ALONE = Processes()


def _tell(store: dist.Store, key: str, value: Any) -> None:
    """Put a JSON-like value of any length into the store."""
    text = json.dumps(value)
    pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
    for number, piece in enumerate(pieces):
        store.set(f"{key}/piece{number}", piece)
    store.set(key, str(len(pieces)))


def _hear(store: dist.Store, key: str) -> Any:
    """The value, as soon as it is there."""
    return json.loads(b"".join(store.get(f"{key}/piece{number}") for number in range(int(store.get(key)))))
