from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spp_det.errors import DataError
from spp_det.locks import holder, locked

context = multiprocessing.get_context("fork")
HOLD = "import sys, time\nfrom pathlib import Path\nfrom spp_det.locks import locked\n"
HOLD += "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"


def test_a_second_process_is_told_who_works_there(tmp_path: Path) -> None:
    path = tmp_path / "run" / "run.lock"
    assert holder(path) is None
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        assert holder(path).startswith(f"process {process.pid} on ")
        told = rf"{path.parent}: process {process.pid} on .+ works in this folder: wait"
        with pytest.raises(DataError, match=told), locked(path):
            raise AssertionError
        process.send_signal(signal.SIGKILL)
    assert holder(path) is None
    with locked(path):  # the killed one holds nothing
        assert holder(path).startswith(f"process {os.getpid()} on ")
    assert path.read_bytes() == b""


def test_or_it_waits(tmp_path: Path) -> None:
    path = tmp_path / "stage.lock"
    waited: list[str] = []
    reading, writing = context.Pipe(duplex=False)

    def second() -> None:
        with locked(path, lambda other: writing.send(other)):
            writing.send("in")

    with locked(path):
        process = context.Process(target=second)
        process.start()
        waited.append(reading.recv())
        assert not reading.poll(0.2)
    waited.append(reading.recv())
    process.join()
    assert waited[0].startswith(f"process {os.getpid()} on ")
    assert waited[1] == "in"


def test_a_fault_inside_lets_go(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path / "x.lock"):
        raise KeyError
    assert holder(tmp_path / "x.lock") is None


def test_a_second_training_into_a_folder_is_refused_before_it_does_anything(tmp_path: Path) -> None:
    from spp_det.config import load_config
    from spp_det.pipeline import train

    config = load_config(Path(__file__).parent.parent / "configs" / "shapes.toml", data__root=str(tmp_path / "shapes"))
    with locked(tmp_path / "run" / "run.lock"):
        with pytest.raises(DataError, match=rf"{tmp_path / 'run'}: process {os.getpid()} on .+ works in this folder"):
            train(config, tmp_path / "run")
        assert not (tmp_path / "shapes").exists()
