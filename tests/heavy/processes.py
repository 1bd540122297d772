"""What several processes cost and give: 4 processes of torchrun beside one with all cores, and two machines beside one.

    PYTHONPATH=tests python tests/heavy/processes.py cost [--rounds 3] [--images 120] [--work FOLDER]
    PYTHONPATH=tests python tests/heavy/processes.py machines

cost: trains on *shapes* in turns, with one process and with four, on the cores that there are; the seconds of each
stage, as run.json has them, are medians over the rounds. Exits with 1 where any byte of the runs differs. With --work
a round is kept, and the next call goes on with the next one.
machines: two rendezvous agents of torchrun on this host, which share a folder, and one process; the artefacts are
compared byte by byte, where fine-tuning is not in them, and its loss and weights otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from reference.artefacts import artefacts
from rich.table import Table
from test_torchrun import CONFIG, PAIR, ROOT, free_port, torchrun, train_alone, training

from spp_det.config import load_config
from spp_det.datasets import open_dataset
from spp_det.files import read_arrays, read_json, write_json
from spp_det.tooling import console

WAYS = {"1 process": [], "4 processes": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4"]}


def main() -> int:
    """Parse the arguments and do one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    cost = parts.add_parser("cost")
    cost.add_argument("--rounds", type=int, default=3, help="medians over so many (3)")
    cost.add_argument("--images", type=int, default=120, help="so many images to train on (120)")
    cost.add_argument("--work", type=Path, help="where the rounds are kept")
    cost.set_defaults(do=measure_cost)
    parts.add_parser("machines").set_defaults(do=compare_machines)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        return args.do(args, Path(scratch))


def measure_cost(args: argparse.Namespace, scratch: Path) -> int:
    """Time the two ways in turns."""
    folder = args.work or scratch
    config = load_config(CONFIG, [f"data.options={{train={args.images}, test=6}}"], data__root=str(folder / "shapes"))
    open_dataset(config.data, config.data.train)  # which draws the images
    file = folder / "rounds.json"
    rounds = read_json(file) if file.exists() else []
    while len(rounds) < args.rounds:
        found, seconds = {}, {}
        names = list(WAYS)[:: 1 if len(rounds) % 2 else -1]  # in turns who comes first
        for name in names:
            begin = time.monotonic()
            run_shapes(WAYS[name], folder / "shapes", folder / name, args.images)
            stages = read_json(folder / name / "run" / "run.json")["stages"]
            seconds[name] = {title: stage["seconds"] for title, stage in stages.items()}
            seconds[name]["with the start of Python"] = time.monotonic() - begin
            found[name] = artefacts(folder / name)
            shutil.rmtree(folder / name)
        one, many = found.values()
        same = one == many
        rounds.append({"seconds": seconds, "same": same})
        write_json(file, rounds)
    return report_cost(rounds)


def run_shapes(way: list[str], data: Path, out: Path, images: int) -> None:
    """One training, from nothing."""
    tool = [*way, str(ROOT / "tools" / "train_net.py"), "--config", str(CONFIG), "--data", str(data)]
    settings = ["--out", str(out / "run"), "--set", f"data.options={{train={images}, test=6}}"]
    subprocess.run([sys.executable, *tool, *settings], check=True, stdout=subprocess.DEVNULL)


def report_cost(rounds: list[dict]) -> int:
    """The medians as a table."""
    seconds = {
        name: {key: statistics.median(r["seconds"][name][key] for r in rounds) for key in rounds[0]["seconds"][name]}
        for name in WAYS
    }
    totals = {
        name: [sum(s for key, s in r["seconds"][name].items() if "Python" not in key) for r in rounds] for name in WAYS
    }
    table = Table(title=f"seconds, medians of {len(rounds)}, {os.cpu_count()} cores", title_justify="left")
    for heading in ("stage", *WAYS):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for key in seconds["1 process"]:
        table.add_row(key, *(f"{seconds[name][key]:.1f}" for name in WAYS))
    table.add_row("all stages", *(f"{statistics.median(totals[name]):.1f}" for name in WAYS))
    console.print(table)
    one, four = (statistics.median(totals[name]) for name in WAYS)
    same = all(r["same"] for r in rounds)
    console.print(f"lost to coordination: {100 * (1 - one / four):.1f}% of the throughput; the same bytes: {same}")
    return 0 if same else 1


def compare_machines(_: argparse.Namespace, folder: Path) -> int:
    """Train on two "machines" and on one, and compare all that they leave."""
    train_alone(folder, "single", *PAIR)
    launch = [
        *("--nnodes=2", "--nproc-per-node=2", "--rdzv-backend=c10d", "--rdzv-id=pair"),
        f"--rdzv-endpoint=127.0.0.1:{free_port()}",
    ]
    agents = [torchrun(folder / "pair" / name, launch, *training(folder, "pair", *PAIR)) for name in ("a", "b")]
    codes = [agent.wait() for agent in agents]
    found, expected = artefacts(folder / "pair"), artefacts(folder / "single")
    if any(codes) or found.keys() != expected.keys():
        console.print(f"the machines ended with {codes}")
        return 1
    tuned = [name for name in expected if name.startswith("store/finetune/") or name == "run/head.safetensors"]
    others = [name for name in expected if name not in tuned]
    different = [name for name in others if found[name] != expected[name]]
    console.print(f"{len(others)} artefacts but fine-tuning's: {len(others) - len(different)} the same to the bit")
    worst = max(
        float(np.abs(values - theirs[layer]).max() / np.abs(theirs[layer]).max())
        for ours, theirs in [[read_arrays(folder / side / "run/head.safetensors") for side in ("pair", "single")]]
        for layer, values in ours.items()
    )
    logs = [json.loads(each[next(name for name in tuned if name.endswith("log.json"))]) for each in (found, expected)]
    loss = max(abs(ours["loss"] / theirs["loss"] - 1) for ours, theirs in zip(*logs, strict=True))
    console.print(f"fine-tuning: losses within {loss:.1e}, weights within {worst:.1e} of the largest of their layer")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
