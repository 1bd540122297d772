"""A run that is killed at any moment and started again ends in the bytes of one that was not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
KILLS = 6
SETTINGS = [
    "data.options={train=10, test=4}",
    "maps.scales=[224]",
    "finetune.iterations=60",
    "finetune.chunk=5",
    "finetune.flip=true",
    "finetune.hidden=[64, 64]",
    "proposals.max_windows=300",
]


def command(folder: Path, name: str) -> list[str]:
    tool = [sys.executable, str(ROOT / "tools" / "train_net.py"), "--config", str(ROOT / "configs" / "shapes.toml")]
    places = ["--data", str(folder / "shapes"), "--out", str(folder / name / "run")]
    return [*tool, *places, "--set", *SETTINGS]


def run_to_the_end(folder: Path, name: str) -> float:
    begin = time.monotonic()
    done = subprocess.run(command(folder, name), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - begin


def artefacts(folder: Path) -> dict[str, bytes]:
    """Every file that a run leaves but those that say how long it took, where things are, and how old the images."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.name not in ("run.json", "training.json")]
    files = [file for file in files if not {"check", "uses"} & set(file.parts)]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_killed_again_and_again_it_ends_in_the_same_bytes(tmp_path: Path) -> None:
    seconds = run_to_the_end(tmp_path, "undisturbed")
    expected = artefacts(tmp_path / "undisturbed")
    assert {path.split("/")[1] for path in expected if path.startswith("store/")} >= {
        "proposals",
        "maps",
        "finetune",
        "svm",
        "regress",
    }
    rng = random.Random(0)
    killed = 0
    for _ in range(KILLS):
        with subprocess.Popen(
            command(tmp_path, "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(rng.uniform(0.2, 0.9) * seconds)
            killed += process.poll() is None
            process.send_signal(signal.SIGKILL)
    assert killed, "no run was still going when it was to be killed"
    run_to_the_end(tmp_path, "killed")
    found = artefacts(tmp_path / "killed")
    found = {path: content for path, content in found.items() if not path.endswith(".part")}
    assert found.keys() == expected.keys()
    assert [path for path in expected if found[path] != expected[path]] == []


def test_interrupted_it_says_so_and_leaves_no_traceback(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*command(tmp_path, "interrupted"), "finetune.iterations=1000000"],  # it does not end by itself
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell ignores it
    ) as process:
        assert process.stdout
        process.stdout.readline()  # the first line comes when the work begins
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert "goes on from here" in errors
    assert "Traceback" not in errors
