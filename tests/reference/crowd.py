"""Several processes with one store between them, as torchrun would start them, but in a second."""

from __future__ import annotations

import faulthandler
import json
import multiprocessing
import os
import signal
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist

from spp_det.processes import PATIENCE, Processes

PATIENCE_OF_TESTS = 300  # s
Work = Callable[[Processes], Any]


def crowd(count: int, work: Work, killed: int | None = None) -> list[Any]:
    """What `work` gives in each of so many processes, JSON-like, by rank.

    killed: the rank of one that is to end by SIGKILL; then all are, once it has, and there is no result.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=count)
    port = listener.getsockname()[1]
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    members = [
        context.Process(target=_member, args=(rank, count, port, work, pipe[1]), daemon=True)
        for rank, pipe in enumerate(pipes)
    ]
    for member, (_, sender) in zip(members, pipes, strict=True):
        member.start()
        sender.close()
    # Only now: who is forked while the server's thread works can inherit a lock that nobody opens.
    server = dist.TCPStore(
        "127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach()
    )
    try:
        if killed is not None:
            members[killed].join(PATIENCE_OF_TESTS)
            assert members[killed].exitcode == -signal.SIGKILL
            return []
        return [_result(receiver) for receiver, _ in pipes]
    finally:
        for member in members:
            member.kill()
            member.join()
        del server


def _result(receiver: Connection) -> Any:
    assert receiver.poll(PATIENCE_OF_TESTS), "a process does not end"
    result, fault = json.loads(receiver.recv_bytes())
    assert fault is None, fault
    return result


def _member(rank: int, count: int, port: int, work: Work, sender: Connection) -> None:
    faulthandler.dump_traceback_later(PATIENCE_OF_TESTS - 5, exit=True)
    torch.set_num_threads(1)  # a forked process has none of the threads of its parent
    os.environ.update(LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE="1000")  # one thread for each
    try:
        store = dist.TCPStore("127.0.0.1", port, is_master=False, timeout=PATIENCE)
        answer = [work(Processes(rank, count, rank, store=store)), None]
    except BaseException:
        answer = [None, traceback.format_exc()]
    sender.send_bytes(json.dumps(answer).encode())
