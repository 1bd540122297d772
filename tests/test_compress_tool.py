"""tools/compress.py on a run of a minute: what it writes works as any run does, and its mistakes are one line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spp_det.datasets import make_shapes
from spp_det.files import read_json

ROOT = Path(__file__).parent.parent
QUICK = [
    "data.options={train=4, test=2}",
    "maps.scales=[160]",
    "finetune.iterations=10",
    "finetune.hidden=[16, 12]",
    "proposals.max_windows=100",
]


def tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(ROOT / "tools" / name), *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("data") / "shapes"
    make_shapes(data, 4, 2)
    out = data.parent / "runs" / "dense"
    config = ROOT / "configs" / "shapes.toml"
    done = tool("train_net.py", "--config", config, "--data", data, "--out", out, "--set", *QUICK)
    assert done.returncode == 0, done.stderr
    return out


def assert_one_line(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert all(part in done.stderr for part in parts), done.stderr


def test_a_compressed_run_is_a_run(run: Path) -> None:
    out = run.with_name("small")
    line = (
        "compress.py",
        "--run",
        run,
        "--out",
        out,
        "--rank",
        "6",
        "4",
        "--keep",
        "0.5",
        "--windows",
        "50",
        "--width",
        "12",
        "10",
    )
    done = tool(*line)
    assert done.returncode == 0, done.stderr
    metrics = [100 * read_json(folder / "metrics.json")["voc07"]["map"] for folder in (run, out)]
    assert f"{metrics[0]:.1f} │ {metrics[1]:.1f} │ {metrics[1] - metrics[0]:+.1f}" in " ".join(done.stdout.split())
    assert "16, 12" in done.stdout
    assert "6, 4" in done.stdout
    assert (out / "first_look.safetensors").exists()
    before = (out / "head.safetensors").stat().st_mtime_ns
    (out / "metrics.json").unlink()
    again = tool(*line)  # as after a stop while it tested
    assert again.returncode == 0, again.stderr
    assert (out / "head.safetensors").stat().st_mtime_ns == before
    assert (out / "metrics.json").exists()
    assert_one_line(tool("compress.py", "--run", out, "--out", run.with_name("x"), "--rank", "2"), "compressed already")
    assert_one_line(tool("compress.py", "--run", run, "--out", out, "--energy", "0.9"), str(out), "already")


def test_mistakes_are_one_line(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert_one_line(tool("compress.py", "--run", tmp_path / "none", "--out", out, "--rank", "4"), "none")
    assert_one_line(tool("compress.py", "--run", run, "--out", out, "--rank", "400"), "rank of fc6 lies in 1 .. 16")
    assert_one_line(tool("compress.py", "--run", run, "--out", out, "--energy", "1.5"), "energy", "1.5")
    assert_one_line(tool("compress.py", "--run", run, "--out", out, "--rank", "4", "--keep", "2"), "share of windows")
    wide = ("compress.py", "--run", run, "--out", out, "--rank", "4", "--width", "12", "13")
    assert_one_line(tool(*wide), "the width of fc7 lies in 1 .. 12, not at 13")
    broken = Path(shutil.copytree(run, tmp_path / "broken"))
    (broken / "head.safetensors").write_bytes(b"nothing")
    assert_one_line(tool("compress.py", "--run", broken, "--out", out, "--rank", "4"), "head.safetensors")
    assert not out.exists()


def test_wrong_usage_is_exit_code_2(tmp_path: Path) -> None:
    both = ("compress.py", "--run", "x", "--out", "y")
    assert tool(*both, "--rank", "3", "--energy", "0.5").returncode == 2
    assert tool(*both, "--rank", "3", "4", "5").returncode == 2
