"""The page of a report: whole in one file, names from data escaped, every section there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from spp_det import cli
from spp_det.datasets import make_shapes
from spp_det.evaluation.reliability import reliability
from spp_det.files import read_json, write_json
from spp_det.report.page import percent

ROOT = Path(__file__).parent.parent.parent
QUICK = [
    "data.options={train=4, test=3}",
    "maps.scales=[160]",
    "finetune.iterations=10",
    "finetune.hidden=[16, 16]",
    "proposals.max_windows=100",
]
SECTIONS = ["summary", "ap", "curves", "recall", "errors", "pictures", "timing", "mining", "probabilities", "settings"]
EVIL = "<script>alert('x')</script>&"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    make_shapes(folder / "shapes", 4, 3)
    settings = [part for text in QUICK for part in ("--set", text)]
    config = ["--config", str(ROOT / "configs" / "shapes.toml"), "--data", str(folder / "shapes")]
    assert cli.run(["train", *config, *settings, "--out", str(folder / "runs" / "a <b> run")]) == 0
    return folder / "runs" / "a <b> run"


class Page(HTMLParser):
    """Which sections there are, what is linked to, and whether every tag is closed."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.sources += [values[name] or "" for name in ("src", "href", "srcset") if name in values]
        if tag == "section":
            self.sections.append(values["id"] or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def written(run: Path) -> str:
    assert cli.run(["report", str(run)]) == 0
    return (run / "report.html").read_text()


def test_one_file_with_every_section(run: Path) -> None:
    text = written(run)
    page = Page(text)
    assert page.sections == SECTIONS
    assert page.open == []
    assert all(source.startswith("data:") for source in page.sources)
    assert "script" not in page.tags
    assert "http" not in re.sub(r"data:[^\"]*", "", text)
    assert "<h1>a &lt;b&gt; run</h1>" in text
    assert "Not measured yet" in text
    assert "Not calibrated" in text
    assert "max_windows = 100" in text
    assert written(run) == text  # the same bytes again


def test_with_timing_and_probabilities(run: Path) -> None:
    stages = dict.fromkeys(("proposals_s", "maps_s", "pooling_s", "fc_s", "rest_s"), 0.1)
    side = {**stages, "total_s": 0.5}
    rcnn = {**stages, "maps_s": 10.1, "total_s": 10.5}
    about = {"windows": 50, "images": 1, "threads": 2, "speedup": 26.0, "speedup_with_proposals": 21.0}
    write_json(run / "metrics.json", {"timing": {"spp": side, "rcnn": rcnn, **about}})
    chances = np.linspace(0, 1, 50)
    write_json(run / "calibration.json", {**reliability(chances, chances > 0.5), "images": 2, "split": EVIL})
    try:
        text = written(run)
        assert "26.0x" in text
        assert "maps or crops: 10.100 s" in text
        assert EVIL not in text
        assert "&lt;script&gt;alert" in text
    finally:
        for name in ("metrics.json", "calibration.json"):
            (run / name).unlink()


def test_a_run_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.run_tool(lambda _: cli.run(["report", str(tmp_path / "none")]))
    assert end.value.code == 1
    assert str(tmp_path / "none") in capsys.readouterr().err


def test_a_store_that_has_gone(run: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    write_json(copied / "run.json", {"store": str(tmp_path / "store"), "stages": read_json(run / "run.json")["stages"]})
    assert "no log of it" in written(copied)


def test_percent() -> None:
    assert [percent(value) for value in (0.1234, 1.0, None, float("nan"))] == ["12.3", "100.0", "–", "–"]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
def test_in_a_browser(run: Path, tmp_path: Path) -> None:
    written(run)
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--enable-logging=stderr"]
    line = ["chromium", *options, "--virtual-time-budget=3000", "--dump-dom", f"file://{run / 'report.html'}"]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=120)
    assert [name for name in SECTIONS if f'<section id="{name}">' not in done.stdout] == []
    assert "CONSOLE" not in done.stderr, json.dumps(done.stderr)
