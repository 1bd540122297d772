"""Names that someone else gave: they are no code, no paths and no markup."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image as PillowImage

from spp_det.config import config_to_toml, load_config
from spp_det.datasets import VOCDataset
from spp_det.datasets.check import check_split
from spp_det.datasets.voc_results import write_results
from spp_det.detection.bundle import load_detector
from spp_det.errors import ConfigError, DataError
from spp_det.pipeline import evaluate_run
from spp_det.pipeline.split import open_split
from spp_det.pipeline.status import run_status
from spp_det.pipeline.store import Store
from spp_det.structures import Detections
from spp_det.tooling import console, run_tool


def test_a_run_folder_names_code_only_where_it_is_trusted(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPP_DET_TRUST")
    with pytest.raises(ConfigError, match="names code, which a run's folder may not do by itself; if you trust it"):
        load_detector(run)
    with pytest.raises(ConfigError, match="names code"):
        run_status(run)
    load_detector(run, trust=["reference.tiny_trunk"])
    monkeypatch.setenv("SPP_DET_TRUST", "another, reference")
    load_detector(run)


@pytest.mark.parametrize(
    "line", ['trunk.name = "os:system"', 'proposals.method = "selective_search+os:system"', 'data.format = "os:system"']
)
def test_a_run_folder_cannot_call_what_it_likes(run: Path, tmp_path: Path, line: str) -> None:
    marker = tmp_path / "was_run"
    key, _, name = line.partition(" = ")
    settings = [f"{key}={name}", f"trunk.weights=touch {marker}", f"data.root=touch {marker}"]
    (run / "config.toml").write_text(config_to_toml(load_config(run / "config.toml", settings)))
    with pytest.raises(ConfigError, match=r'"os:system" names code'):
        load_detector(run)
    with pytest.raises(ConfigError, match=r'"os:system" names code'):
        evaluate_run(run)
    assert not marker.exists()


def test_code_that_the_user_names_is_the_users_own(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPP_DET_TRUST")
    load_detector(run, ["trunk.name=reference.tiny_trunk:tiny_trunk"])


def test_an_image_id_leads_nowhere_else(tmp_path: Path) -> None:
    class Strange:
        class_names, ids = ("a",), ("../up",)

    for image_id in ("../up", "/etc/passwd", "a/../../b", ""):
        Strange.ids = (image_id,)
        with pytest.raises(DataError, match="leads out of its folder"):
            open_split(Store(tmp_path / "store"), Strange())  # type: ignore[arg-type]


def test_a_class_name_is_no_path(tmp_path: Path) -> None:
    names = ("../../evil",)
    with pytest.raises(DataError, match="is no file of that folder"):
        write_results(tmp_path / "a" / "b", "test", names, {"x": Detections.empty(names)})
    assert not list(tmp_path.rglob("*evil*"))


def test_a_name_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: object) -> int:
        raise DataError("\x1b]0;evil\x07\x1b[2Ja\nb.jpg", "is broken")

    with pytest.raises(SystemExit):
        run_tool(fail)
    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert shown.count("\n") == 1


def test_a_class_name_that_looks_like_markup_is_printed_as_it_is(tmp_path: Path) -> None:
    for name in ("Annotations", "JPEGImages"):
        (tmp_path / name).mkdir()
    PillowImage.new("RGB", (20, 20)).save(tmp_path / "JPEGImages" / "a.jpg")
    box = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>12</xmax><ymax>12</ymax></bndbox>"
    xml = f"<annotation><object><name>[/red]</name>{box}</object></annotation>"
    (tmp_path / "Annotations" / "a.xml").write_text(xml)
    dataset = VOCDataset(tmp_path, split="all", classes=["[/red]"])
    with console.capture() as capture:
        check_split(dataset, "all").show(console)
    assert "[/red]" in capture.get()
