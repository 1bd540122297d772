"""How processes that torchrun started become those of one run."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist

from spp_det.heartbeat import heartbeat
from spp_det.parallel import available_cores
from spp_det.processes import ALONE, LOOK_EVERY, PATIENCE, Processes
from spp_det.team import own_gpu, threads
from spp_det.tooling import hushed

FAR = "192.0.2.1"  # an address that is nobody's (RFC 5737)
SIOCGIFADDR = 0x8915  # Linux: an interface's address


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
    if world > int(os.environ["LOCAL_WORLD_SIZE"]) and (name := interface(os.environ["MASTER_ADDR"])) is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
    here = Processes(rank, world, local_rank, own_gpu(), _meet(rank, world) if world > 1 else None)
    watch = contextlib.nullcontext() if here.store is None else heartbeat(here.store, rank, world)
    with threads(available_cores()), contextlib.nullcontext() if here.first else hushed(), watch:
        try:
            yield here
            here.wait()  # one that has left is silent
        except (RuntimeError, dist.DistError) as fault:
            if not _lost_another(fault):
                raise
            raise SystemExit(1) from None


def interface(host: str) -> str | None:
    """The network interface by which other machines reach this one, None where nobody can say (IPv4).

    host: one of the machines. torch would take the one that this machine's own name leads to, which on many is the
    loopback. Where `host` leads there, too, it is the one of the route to the rest of the world.
    """
    for far in (host, FAR):
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((far, 9))  # which sends nothing
            own = probe.getsockname()[0]
            for _, name in [] if own.startswith("127.") else socket.if_nameindex():
                with contextlib.suppress(OSError):  # it has no address
                    request = struct.pack("16s24x", name.encode())
                    if fcntl.ioctl(probe, SIOCGIFADDR, request)[20:24] == socket.inet_aton(own):
                        return name
    return None


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


def _lost_another(fault: Exception) -> bool:
    """Whether a fault says that another process has gone, or the store with the machine that it was on."""
    return isinstance(fault, dist.DistError) or "gloo" in str(fault).lower()
