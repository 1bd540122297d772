"""The processes of one run: alone, or as torchrun starts them, over GPUs and machines.

What they share is dealt by one counter in torchrun's store: whoever is free takes the next piece. Only those that
compute gradients together, a `Team`, talk to each other.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import numba
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from spp_det.errors import ConfigError
from spp_det.heartbeat import heartbeat
from spp_det.parallel import available_cores, machine_cores
from spp_det.threads import blas_threads
from spp_det.tooling import hushed, progress

T = TypeVar("T")
R = TypeVar("R")
PATIENCE = timedelta(days=20)  # a stage of another process may last; one that has died is torchrun's to notice
LOOK_EVERY = 0.01  # s, between two looks at what the others do
PIECE = 4 << 20  # bytes: torchrun's store takes no value of more than 8 MB, and 200,000 images' names are more


@dataclass(frozen=True)
class Team:
    """Processes that compute gradients together: which this one is, of how many, and where it computes."""

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable

    def rows(self, batch: int) -> slice:
        """This process's rows of a batch. Raises ConfigError where there are fewer rows than processes."""
        if batch < self.world:
            raise ConfigError(f"a batch of {batch} windows is too small for {self.world} processes")
        return slice(batch * self.rank // self.world, batch * (self.rank + 1) // self.world)

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with its gradients averaged over the processes."""
        if self.world == 1:
            return network
        return DistributedDataParallel(network, device_ids=[self.device] if self.device.type == "cuda" else None)

    def sum(self, values: Tensor) -> Tensor:
        """The sum of the processes' tensors, in each of them."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            dist.barrier()


LONE = Team()


@dataclass(frozen=True)
class Processes:
    """Which process this is, of how many, and what they do together; all of them make the same calls in one order.

    rank: of `world`; local_rank: likewise, on this machine; store: where they count together, None where there is
    one. device: a GPU of this process's own, or the CPU.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable
    store: dist.Store | None = None
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    @property
    def first(self) -> bool:
        """Whether it is this one that speaks, and writes what is one for all."""
        return self.rank == 0

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

    @contextmanager
    def team(self, everyone: bool = False) -> Iterator[Team | None]:
        """Join those that compute gradients together; None for a process that does not, which goes on at once.

        They are all processes with a GPU of their own, or else the first of each machine, with all of the machine's
        cores: threads of one process share weights and gradients for nothing. everyone: all processes, each with its
        GPU or without, also where one is alone.
        """
        device = own_device() if everyone else self.device
        if self.store is None:
            yield Team(device=device)
            return
        kinds = self.gather([self.device.type, self.local_rank])
        gpus = [rank for rank, (device, _) in enumerate(kinds) if device == "cuda"]
        members = gpus or [rank for rank, (_, local_rank) in enumerate(kinds) if local_rank == 0]
        if everyone:
            members = list(range(self.world))
        name = self.new_key()
        if self.rank not in members:
            yield None
            return
        rank = members.index(self.rank)
        with _threads(available_cores() if gpus or everyone else machine_cores()):
            if len(members) > 1:
                backend = "nccl" if len(gpus) == len(members) else "gloo"
                store = dist.PrefixStore(name, self.store)
                dist.init_process_group(backend, store=store, rank=rank, world_size=len(members), timeout=PATIENCE)
            yield Team(rank, len(members), device)
            if len(members) > 1:
                dist.barrier()  # nobody leaves while another still talks to it
                dist.destroy_process_group()

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


@contextmanager
def processes() -> Iterator[Processes]:
    """Join the processes that torchrun started with this one; without torchrun, this one alone.

    Under torchrun a process takes the GPU of its number on the machine, or the CPU where there is none; its share of
    the machine's cores as threads; and says nothing unless it is the first. It ends with exit code 1, in silence,
    where another process has died: that one has said why, or torchrun does.
    """
    world = int(os.environ.get("WORLD_SIZE", 1))
    if "LOCAL_RANK" not in os.environ:
        yield ALONE
        return
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    here = Processes(rank, world, local_rank, own_device(), _meet(rank, world) if world > 1 else None)
    watch = contextlib.nullcontext() if here.store is None else heartbeat(here.store, rank, world)
    with _threads(available_cores()), contextlib.nullcontext() if here.first else hushed(), watch:
        try:
            yield here
            here.wait()  # one that has left is silent
        except (RuntimeError, dist.DistError) as fault:
            if not _lost_another(fault):
                raise
            raise SystemExit(1) from None


def own_device() -> torch.device:
    """The GPU of this process's number on the machine, or the CPU where there is none."""
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    if not torch.cuda.is_available() or local_rank >= torch.cuda.device_count():
        return torch.device("cpu")
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device


def _meet(rank: int, world: int) -> dist.Store:
    """A corner of torchrun's store that is this attempt's own.

    The store outlives the processes: after a restart it still has the counters of the dead and where they could be
    reached. So the first process waits until each of the others has answered to a name that it has just made up.
    """
    store = next(dist.rendezvous("env://", rank, world, timeout=PATIENCE))[0]
    me = uuid.uuid4().hex
    if rank:
        store.set(f"hello/{rank}", me)
        corner = dist.PrefixStore(store.get(f"welcome/{me}").decode(), store)
        corner.set(f"here/{rank}", "")
        return corner
    corner = dist.PrefixStore(me, store)
    absent, welcomed = set(range(1, world)), set[str]()
    while absent:
        for other in sorted(absent):
            if corner.check([f"here/{other}"]):
                absent.discard(other)
            elif store.check([f"hello/{other}"]) and (name := store.get(f"hello/{other}").decode()) not in welcomed:
                store.set(f"welcome/{name}", me)
                welcomed.add(name)
        time.sleep(LOOK_EVERY)
    return corner


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads for torch, numba and numpy within the block: torchrun says one for numpy, and else nothing."""
    before = torch.get_num_threads(), numba.get_num_threads()
    with blas_threads(count):
        torch.set_num_threads(count)
        numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            numba.set_num_threads(before[1])


def _lost_another(fault: Exception) -> bool:
    """Whether a fault says that another process has gone, or the store with the machine that it was on."""
    return isinstance(fault, dist.DistError) or "gloo" in str(fault).lower()
