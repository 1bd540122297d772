"""Those processes of a run that compute gradients together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numba
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from spp_det.errors import ConfigError
from spp_det.parallel import available_cores, machine_cores
from spp_det.processes import PATIENCE, Processes
from spp_det.threads import blas_threads


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


@contextmanager
def join_team(here: Processes, everyone: bool = False) -> Iterator[Team | None]:
    """Join those that compute gradients together; None for a process that does not, which goes on at once.

    They are all processes with a GPU of their own, or else the first of each machine, with all of the machine's
    cores: threads of one process share weights and gradients for nothing. everyone: all processes, each with its
    GPU or without, also where one is alone.
    """
    device = (replace(here, gpu=own_gpu()) if everyone else here).device
    if here.store is None:
        yield Team(device=device)
        return
    kinds = here.gather([here.device.type, here.local_rank])
    gpus = [rank for rank, (device, _) in enumerate(kinds) if device == "cuda"]
    members = gpus or [rank for rank, (_, local_rank) in enumerate(kinds) if local_rank == 0]
    if everyone:
        members = list(range(here.world))
    name = here.new_key()
    if here.rank not in members:
        yield None
        return
    rank = members.index(here.rank)
    with threads(available_cores() if gpus or everyone else machine_cores()):
        if len(members) > 1:
            backend = "nccl" if len(gpus) == len(members) else "gloo"
            store = dist.PrefixStore(name, here.store)
            dist.init_process_group(backend, store=store, rank=rank, world_size=len(members), timeout=PATIENCE)
        yield Team(rank, len(members), device)
        if len(members) > 1:
            dist.barrier()  # nobody leaves while another still talks to it
            dist.destroy_process_group()


def own_gpu() -> int | None:
    """The GPU of this process's number on the machine, which is made the current one; None where there is none."""
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    if not torch.cuda.is_available() or local_rank >= torch.cuda.device_count():
        return None
    torch.cuda.set_device(local_rank)
    return local_rank


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads for torch, numba and numpy within the block: torchrun says one for numpy, and else nothing."""
    before = torch.get_num_threads(), numba.get_num_threads()
    with blas_threads(count):
        numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
        torch.set_num_threads(count)  # behind numba, whose first call sets OpenMP's number, which is torch's too
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            numba.set_num_threads(before[1])
