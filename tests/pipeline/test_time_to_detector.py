"""AP against time, the whole of it on a few generated images with a tiny trunk. No time itself is asserted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from reference.tiny_trunk import tiny_trunk
from reference.tools import load_tool

from spp_det.datasets import make_shapes
from spp_det.errors import ConfigError, DataError
from spp_det.evaluation.faster_rcnn_training import PeerSettings, PeerTraining
from spp_det.files import read_json
from spp_det.pipeline.time_to_detector import OURS, THEIRS, VARIANTS, measure, open_sets
from spp_det.report.time_to_detector import plot_points, points_table, verdict_line, verdicts

SETTINGS = PeerSettings(short_side=96, epochs=2, regions=16, warm_up=2)
PEERS = {"frozen trunk": SETTINGS, "one layer learns": replace(SETTINGS, frozen=2, bfloat16=False)}
OURS_TRIED = {name: VARIANTS[name] for name in ("as chosen", "no votes")}
QUICK = (
    "trunk.name=reference.tiny_trunk:tiny_trunk",
    "trunk.weights=random",
    "maps.scales=[96]",
    "proposals.max_windows=400",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("race") / "shapes"
    make_shapes(folder, 12, 16)
    return folder


@pytest.fixture(scope="module")
def sets(data: Path):
    return open_sets(data, "disc", [3], 4)


def run(path: Path, sets, **options):
    kept = path.parent / "kept"
    settings = {"overrides": QUICK, "variants": OURS_TRIED, "peers": PEERS}
    return measure(path, {"class": "disc"}, sets, kept, tiny_trunk, **settings, **options)


@pytest.fixture(scope="module")
def result(sets, tmp_path_factory: pytest.TempPathFactory):
    return run(tmp_path_factory.mktemp("whole") / "points.json", sets)


def test_the_images_are_of_one_class_and_half_of_those_to_test_show_it(sets) -> None:
    learn, test = sets[3]
    assert learn.class_names == test.class_names == ("disc",)
    assert len(learn.ids) == 3
    assert all(len(learn.target(image_id)) and not learn.target(image_id).labels.any() for image_id in learn.ids)
    assert [len(test.target(image_id)) > 0 for image_id in test.ids] == [True, True, False, False]


def test_every_side_has_its_points(result) -> None:
    points = result["points"]
    steps = [(each["side"], each["name"], each["step"]) for each in points]
    assert len(set(steps)) == len(steps)
    assert {step for step in steps if step[0] == OURS} == {(OURS, name, "all") for name in OURS_TRIED}
    theirs = {(THEIRS, name, f"epoch {epoch}") for name in PEERS for epoch in (1, 2)}
    assert {step for step in steps if step[0] == THEIRS} == theirs
    for point in points:
        assert point["images"] == 3
        assert point["wall_s"] > 0
        assert point["cpu_s"] > 0
        assert 0 <= point["ap"]["11point"] <= 1
    for name in PEERS:
        first, second = (each["wall_s"] for each in points if each["name"] == name)
        assert second > first


def test_a_stopped_run_goes_on_and_ends_in_the_same_detectors(result, sets, tmp_path, monkeypatch) -> None:
    path = tmp_path / "points.json"
    monkeypatch.setattr(PeerTraining, "epoch", stops_at(PeerTraining.epoch, 4))
    with pytest.raises(KeyboardInterrupt):
        run(path, sets)
    monkeypatch.undo()
    there = read_json(path)["points"]
    assert 0 < len(there) < len(result["points"])
    assert list((tmp_path / "kept").rglob("*.safetensors"))
    again = run(path, sets)
    assert again["points"][: len(there)] == there

    def known(points):
        facts = ("side", "name", "step", "ap", "loss")
        return sorted(json.dumps([point.get(fact) for fact in facts]) for point in points)

    assert known(again["points"]) == known(result["points"])
    assert run(path, sets, minutes=0)["points"] == again["points"]
    assert not list((tmp_path / "kept").rglob("*.safetensors"))


def stops_at(work, count: int):
    calls: Iterator[int] = iter(range(1, 100))

    def stopped(*arguments):
        if next(calls) == count:
            raise KeyboardInterrupt
        return work(*arguments)

    return stopped


def test_a_part_can_be_asked_for_and_an_unknown_one_is_refused(sets, tmp_path) -> None:
    path = tmp_path / "points.json"
    points = run(path, sets, only=["frozen trunk"])["points"]
    assert {point["name"] for point in points} == {"frozen trunk"}
    with pytest.raises(ConfigError, match="no 'frozen'; there is as chosen"):
        run(path, sets, only=["frozen"])
    with pytest.raises(ConfigError, match=r"points.json: was measured with another setup"):
        measure(path, {"class": "star"}, sets, tmp_path, tiny_trunk)


def test_bad_data_are_named(data: Path) -> None:
    with pytest.raises(ConfigError, match="no class 'cat'; they have disc, ring"):
        open_sets(data, "cat", [3], 4)
    with pytest.raises(DataError, match=r"JPEGImages: \d+ images show the class 'disc', and 50 are asked for"):
        open_sets(data, "disc", [3, 50], 4)


def test_the_tool_says_what_is_wrong_in_one_line(data: Path, tmp_path, capsys) -> None:
    benchmark = load_tool("benchmark")
    arguments = ["time-to-detector", "--data", str(data), "--json", str(tmp_path / "points.json"), "--test", "4"]
    with pytest.raises(ConfigError, match="no class 'cat'"):
        benchmark.main([*arguments, "--class", "cat"])
    with pytest.raises(DataError, match="50 are asked for"):
        benchmark.main([*arguments, "--class", "disc"])
    nothing_begun = [
        *arguments,
        "--class",
        "disc",
        "--images",
        "3",
        "--minutes",
        "0",
        "--plot",
        str(tmp_path / "a.png"),
    ]
    assert benchmark.main(nothing_begun) == 0
    assert read_json(tmp_path / "points.json")["points"] == []
    assert "AP, area" in capsys.readouterr().out


def test_the_layers_that_are_frozen_stay(sets) -> None:
    learn = sets[3][0]
    before = tiny_trunk().state()
    for frozen, same in ((None, (True, True)), (2, (True, False)), (0, (False, False))):
        training = PeerTraining(tiny_trunk(), learn, replace(SETTINGS, frozen=frozen))
        training.look()
        training.epoch(lambda done, of: None)
        after = training.model.backbone.body.state_dict()
        names = ("conv1.weight", "conv2.weight")
        assert tuple(np.array_equal(after[name], before[name]) for name in names) == same


def test_the_verdict_and_its_pictures(result, tmp_path) -> None:
    def point(side, name, wall, ap, images=50):
        ap = {"11point": ap, "area": ap}
        return {"side": side, "name": name, "step": "x", "images": images, "wall_s": wall, "cpu_s": 2 * wall, "ap": ap}

    points = [
        point(OURS, "short", 10, 0.5),
        point(OURS, "long", 30, 0.7),
        point(THEIRS, "frozen trunk", 100, 0.6),
        point(THEIRS, "frozen trunk", 300, 0.65),
        point(THEIRS, "frozen trunk", 500, 0.65),
        point(OURS, "short", 10, 0.5, 200),
        point(THEIRS, "frozen trunk", 100, 0.6, 200),
        point(OURS, "short", 10, 0.5, 300),
    ]
    few, many = verdicts(points)
    assert (few["theirs"]["wall_s"], few["ours"]["name"], few["share"]) == (300, "long", 0.1)
    assert (many["ours"], many["share"], many["best"]["name"]) == (None, None, "short")
    assert verdict_line(few).endswith("65.0 after 5 min 00 s; spp_det (long) has 70.0 after 30 s, 10.0% of that")
    assert verdict_line(many).endswith("spp_det stays below it, 50.0 after 10 s")
    assert points_table(result["points"]).row_count == len(result["points"])
    plot_points(points, "AP against time", tmp_path / "new" / "plot.png")
    assert PillowImage.open(tmp_path / "new" / "plot.png").size[0] == 1100
