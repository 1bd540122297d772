"""The paper's tables on generated images: what is made, what is shared, what is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from reference.tools import load_tool

import spp_det.pipeline.reproduction as reproduction
from spp_det.config import config_to_dict, load_config
from spp_det.errors import ConfigError, DataError, WeightsError
from spp_det.pipeline import evaluate_run
from spp_det.pipeline.paper_tables import BASES, ROWS, SPP_1, SPP_5, TABLES
from spp_det.pipeline.reproduction import Plan
from spp_det.regions import SPPRegions

ROOT = Path(__file__).parent.parent
SMALL = """
[data]
format = "shapes"
root = "x"
options = {train = 6, test = 3}
[proposals]
mode = "released"
max_windows = 40
[trunk]
name = "reference.tiny_trunk:tiny_trunk"
weights = "random"
[regions]
crop_size = 48
context = 4
[finetune]
iterations = 6
hidden = [12, 12]
batch_size = 16
flip = false
"""
QUICK = ["rcnn:finetune.chunk=3", "rcnn:finetune.windows_per_image=8"]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("reproduce")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    (folder / "small.toml").write_text(SMALL)
    return folder


def arguments(workplace: Path, table: str, *more: str) -> list[str]:
    places = ["--data", str(workplace / "shapes"), "--out", str(workplace / "runs")]
    return [table, "--config", str(workplace / "small.toml"), *places, "--windows", "30", *more]


def plan(table: str = "table9", trunk: str = "alexnet", **changes: object) -> Plan:
    bases = dict.fromkeys(TABLES[table].trunks, BASES[trunk])
    return replace(Plan(TABLES[table], bases, ROOT / "configs", "data", Path("runs")), **changes)


def test_table_9_from_nothing_and_again(
    tool: ModuleType, workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = ["--json", str(workplace / "out.json"), "--markdown", str(workplace / "out.md"), "--timing", "1"]
    assert tool.main(arguments(workplace, "table9", *out, "--set", *QUICK)) == 0
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("ftfc7 bb", "58.0", "trained on 6 images, tested on 3"))
    result = json.loads((workplace / "out.json").read_text())
    assert len(result["rows"]) == 15
    assert all(0 <= row["here"] <= 100 and row["fault"] is None for row in result["rows"])
    assert set(result["seconds"]) == {SPP_1, SPP_5, "R-CNN"}
    table = (workplace / "out.md").read_text()
    assert table.count("\n| ") == 11
    assert "| ftfc7 bb | 58.0 |" in table
    runs = {row["run"] for row in result["rows"]}
    assert len(runs) == 12  # with regression and without it are one run
    assert len(list((workplace / "runs" / "store" / "proposals").iterdir())) == 2  # of training and of test
    assert len(list((workplace / "runs" / "store" / "maps").iterdir())) == 2  # one scale and five

    def no_work(*_: object, **__: object) -> None:
        raise AssertionError("it was made before")

    monkeypatch.setattr(reproduction, "train", no_work)
    monkeypatch.setattr(reproduction, "time_detectors", no_work)
    assert tool.main(arguments(workplace, "table9", *out, "--set", *QUICK)) == 0
    assert json.loads((workplace / "out.json").read_text()) == result
    assert tool.main(arguments(workplace, "table10", "--timing", "0", "--set", *QUICK)) == 0  # the same runs


def test_two_seeds_and_both_together(tool: ModuleType, workplace: Path, tmp_path: Path) -> None:
    line = arguments(workplace, "table12", "--json", str(tmp_path / "out.json"), "--set", *QUICK)
    assert tool.main([*line, "--only", "both"]) == 0
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [row["here"] is not None for row in rows] == [True] + 6 * [False]  # of table 9
    assert tool.main(line) == 0
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [row["paper"] for row in rows] == [59.2, 59.1, 60.9, *4 * [None]]
    assert all(0 <= row["here"] <= 100 for row in rows)
    for both, mean in ((2, 3), (5, 6)):
        assert rows[both]["run"] == rows[mean]["run"]
        assert len(list(Path(rows[both]["run"]).glob("result-*.json"))) == 2
    for both, second in ((2, 1), (5, 4)):
        assert rows[both]["run"] == str(Path(rows[0]["run"])) + "+" + Path(rows[second]["run"]).name


def test_a_second_pre_training_is_of_one_row(tmp_path: Path) -> None:
    made = plan("table12", changes=["SPP-net (2):trunk.weights=other.safetensors"])
    weights = [made.config(cell).trunk.weights for cell in made.table.cells if not cell.joins]
    assert weights == ["default", "other.safetensors", "default"]


def test_the_rows_of_a_column_look_at_an_image_together(
    tool: ModuleType, workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The maps of a test image are made once for all rows; what each finds is what it finds by itself."""
    seen: list[int] = []
    for name in ("image_features", "live_features"):  # maps to keep, and maps that are pooled at once
        plain = getattr(SPPRegions, name)
        monkeypatch.setattr(SPPRegions, name, lambda self, image, plain=plain: seen.append(1) or plain(self, image))
    line = arguments(workplace, "table9", "--only", SPP_5, "--timing", "0", "--out", str(tmp_path / "runs"))
    assert tool.main([*line, "--json", str(tmp_path / "out.json")]) == 0
    assert len(seen) == 6 + 3  # images to learn from, and to test on
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    run = next(Path(row["run"]) for row in rows if row["row"] == "ftfc7 bb" and row["here"] is not None)
    together = evaluate_run(run)
    evaluated = evaluate_run(run, store=workplace / "alone")
    assert len(seen) == 6 + 3 + 3
    for name in ("voc07", "voc07_without_regression"):
        assert json.dumps(evaluated[name]) == json.dumps(together[name])  # as text, a class without objects is NaN


def test_the_mean_over_some_classes(
    tool: ModuleType, workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = arguments(workplace, "table11", "--only", f"{SPP_5} ftfc7", "--timing", "0", "--set", *QUICK)
    assert tool.main([*line, "--json", str(tmp_path / "all.json")]) == 0
    row = json.loads((tmp_path / "all.json").read_text())["rows"][1]
    two = [name for name, ap in row["ap"].items() if ap is not None][:2]
    assert tool.main([*line, "--json", str(tmp_path / "two.json"), "--mean-over", *two]) == 0
    found = json.loads((tmp_path / "two.json").read_text())
    assert found["rows"][1]["here"] == pytest.approx(sum(row["ap"][name] for name in two) / 2, abs=0.02)
    assert f"mean over {two[0]}, {two[1]} alone" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"--mean-over zebra: there are objects of "):
        tool.main([*line, "--mean-over", "zebra"])


def test_a_row_with_regression_alone(tool: ModuleType, workplace: Path, tmp_path: Path) -> None:
    """Its run is that of the row without, which comes first and is not asked for."""
    line = arguments(workplace, "table9", "--only", f"{SPP_5} ftfc7 bb", "--limit", "2", "--out", str(tmp_path))
    assert tool.main([*line, "--timing", "0", "--json", str(tmp_path / "out.json")]) == 0
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    made = {(row["row"], row["column"]) for row in rows if row["here"] is not None}
    assert made == {("ftfc7", SPP_5), ("ftfc7 bb", SPP_5)}  # a run has both


def test_what_was_not_asked_for_is_left_and_named(
    tool: ModuleType, workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = arguments(workplace, "table11", "--only", f"{SPP_5} ftfc7", "--limit", "2", "--out", str(tmp_path))
    assert tool.main([*line, "--json", str(tmp_path / "out.json")]) == 0
    result = json.loads((tmp_path / "out.json").read_text())
    assert [row["here"] is not None for row in result["rows"]] == [False, True, False, True]  # a run has both
    assert result["limit"] == 2
    printed = capsys.readouterr().out
    assert "trained on 2 images, tested on 2" in printed
    assert "no figure here is comparable" in printed
    assert "not made yet: R-CNN ftfc7; R-CNN ftfc7 bb" in printed
    assert "disc" in printed


def test_a_row_that_does_not_fit_is_told_and_the_others_are_made(
    tool: ModuleType, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    only = [text for row in ("6", "1") for text in ("--only", row)]
    changes = ["1:finetune.rates=[]"]
    with pytest.raises(ConfigError, match=r"\$.finetune.rates"):
        tool.main(arguments(workplace, "pyramids", *only, "--set", *changes))
    changes = ["1:regions.kind=rcnn", "1:finetune.first_conv=7"]
    assert tool.main(arguments(workplace, "pyramids", *only, "--set", *changes)) == 0
    printed = capsys.readouterr().out
    assert "SPP-net, 1 scale 1: finetune.first_conv = 7: tiny has 2 convolutions" in printed


def test_without_pretrained_weights_it_says_which_file_before_any_work(
    tool: ModuleType, workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(workplace / "shapes")
    line = ["table10", "--data", "data", "--set", "data.format=shapes"]
    with pytest.raises(WeightsError) as caught:
        tool.main(line)
    message = str(caught.value)
    assert str(tmp_path / "data" / "weights" / "zf5.safetensors") in message
    assert "needs pretrained weights" in message
    assert "SPP_net release" in message
    assert not (tmp_path / "runs").exists()


def test_what_cannot_be_asked_for(tool: ModuleType, workplace: Path) -> None:
    with pytest.raises(ConfigError, match=r"--only fc8: the table has pool5, fc6"):
        tool.main(arguments(workplace, "table9", "--only", "fc8"))
    with pytest.raises(ConfigError, match=r"--set fc8:"):
        tool.main(arguments(workplace, "table9", "--set", "fc8:svm.C=1"))
    with pytest.raises(DataError, match="there is no such folder"):
        tool.main(["table9", "--data", str(workplace / "none"), "--trunk", "lite0", "--out", str(workplace / "no")])
    for wrong in (["--limit", "0"], ["--edge-model", "x"], ["--trunk", "other"]):
        with pytest.raises(SystemExit) as caught:
            tool.main(arguments(workplace, "table9", *wrong))
        assert caught.value.code == 2


def test_settings_go_in_their_order() -> None:
    """The base's, R-CNN's, those for all rows, the table's own, those for one row."""
    changes = ["svm.C=0.5", "maps.scales=[100]", "fc6:svm.C=0.7", "rcnn:regress.strict=false", "finetune.chunk=7"]
    made = plan(changes=changes, limit=9)
    found = {(cell.column, cell.row): made.config(cell) for cell in made.table.cells}
    spp, fc6, rcnn = found[SPP_1, "ftfc7"], found[SPP_1, "fc6"], found["R-CNN", "ftfc7"]
    assert (spp.svm.C, fc6.svm.C, rcnn.svm.C) == (0.5, 0.7, 0.5)
    assert (spp.maps.scales, rcnn.regress.strict, rcnn.finetune.chunk) == ((688,), False, 7)
    assert (rcnn.maps.levels, spp.maps.levels) == ((6,), (1, 2, 3, 6))
    assert {config.data.max_images for config in found.values()} == {9}
    assert spp.proposals == rcnn.proposals
    assert spp.data == rcnn.data


def test_every_cell_of_every_table_and_trunk_is_a_configuration() -> None:
    for trunk in BASES:
        for name in TABLES:
            made = plan(name, trunk)
            for cell in made.table.cells:
                config = made.config(cell)
                assert config.regions.kind == cell.side
                assert cell.regressed <= config.regress.enabled


def test_r_cnn_s_rows_have_the_settings_of_its_configuration() -> None:
    made = plan("table10", "zf5")
    cell = next(cell for cell in made.table.cells if cell.side == "rcnn")
    found = config_to_dict(made.config(cell))
    written = config_to_dict(load_config(ROOT / "configs" / "voc07_rcnn_zf5.toml"))
    for table in ("trunk", "regions", "finetune", "svm", "regress", "detect", "evaluate", "proposals"):
        assert found[table] == written[table], table


def test_the_figures_are_those_of_the_paper() -> None:
    """The mean of the classes' APs is the mAP, and tables 9 and 10 share SPP-net's."""
    for cell in TABLES["table11"].cells:
        assert len(cell.classes) == 20
        assert sum(cell.classes) / 20 == pytest.approx(cell.paper, abs=0.06)
    nine = {(cell.row, cell.column): cell for cell in TABLES["table9"].cells}
    assert len(nine) == 3 * len(ROWS)
    for cell in TABLES["table10"].cells:
        if cell.side == "spp":
            assert nine[cell.row, cell.column] == cell
    seconds = TABLES["table9"].seconds
    assert round(seconds["R-CNN"][2] / seconds[SPP_1][2]) == 64
    assert round(TABLES["table10"].seconds["R-CNN"][2] / seconds[SPP_5][2]) == 38
