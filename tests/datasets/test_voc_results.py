"""The devkit's result files read back: equal to what was written, and every fault with its file and line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spp_det.datasets import write_results
from spp_det.datasets.voc_results import read_results
from spp_det.errors import DataError
from spp_det.structures import Detections

CLASSES = ("bus", "car", "tv monitor")
side = st.floats(0, 2000, width=32)
length = st.floats(0.5, 500, width=32)


@st.composite
def detections(draw: st.DrawFn) -> Detections:
    rows = draw(st.lists(st.tuples(side, side, length, length, st.floats(-1e6, 1e6, width=32)), max_size=6))
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h, _ in rows], np.float32).reshape(-1, 4)
    labels = np.array([draw(st.integers(0, 2)) for _ in rows], np.int64)
    scores = np.array([score for *_, score in rows], np.float32)
    order = np.lexsort((-scores, labels))
    return Detections(boxes[order], scores[order], labels[order], CLASSES)


@settings(deadline=None, max_examples=50)
@given(content=st.dictionaries(st.sampled_from(["000001", "2008_000002", "ä"]), detections()))
def test_there_and_back(content: dict[str, Detections], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, "test", CLASSES, content)
    found = read_results(folder, "test", CLASSES, list(content))
    assert list(found) == list(content)
    for image_id, wanted in content.items():
        got = found[image_id]
        assert got.class_names == CLASSES
        np.testing.assert_array_equal(got.labels, wanted.labels)
        np.testing.assert_array_equal(got.scores, wanted.scores)
        np.testing.assert_array_equal(got.boxes[:, 2:], wanted.boxes[:, 2:])
        far = wanted.boxes[:, :2] >= 0.125  # nearer to 0, float32 is finer than the nine digits of one more
        np.testing.assert_array_equal(got.boxes[:, :2][far], wanted.boxes[:, :2][far])
        np.testing.assert_allclose(got.boxes, wanted.boxes, rtol=0, atol=1e-8)


def test_one_pixel_and_a_whole_image(tmp_path: Path) -> None:
    for name in CLASSES:
        (tmp_path / f"comp4_det_val_{name}.txt").write_text("")
    (tmp_path / "comp4_det_val_car.txt").write_text("000007 -0.5 1 1 1 1\n\n000007 0.25 1.000000 1.000000 500 375\n")
    found = read_results(tmp_path, "val", CLASSES, ["000007", "000008"])
    assert found["000007"].boxes.tolist() == [[0, 0, 500, 375], [0, 0, 1, 1]]  # best score first
    assert found["000007"].scores.tolist() == [0.25, -0.5]
    assert found["000007"].labels.tolist() == [1, 1]
    assert len(found["000008"]) == 0


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("000007 0.5 1 1 9", "line 2 is not `id score xmin ymin xmax ymax`"),
        ("000007 0.5 1 1 9 9 9", "line 2 is not"),
        ("000007 0.5 1 1 nine 9", "line 2 is not"),
        ("000009 0.5 1 1 9 9", "line 2: 000009 is none of the 1 images asked for"),
        ("000007 nan 1 1 9 9", "line 2: nan 1 1 9 9 has an empty box"),
        ("000007 1e300 1 1 9 9", "line 2: 1e300 1 1 9 9 has"),
        ("000007 0.5 1 1 inf 9", "line 2: 0.5 1 1 inf 9 has"),
        ("000007 0.5 nan 1 9 9", "line 2: 0.5 nan 1 9 9 has"),
        ("000007 0.5 0 1 9 9", "begins before pixel 1"),
        ("000007 0.5 9 1 8 9", "has an empty box"),
        ("000007 0.5 200.9999999 1 200 9", "has an empty box"),
    ],
)
def test_a_wrong_line(tmp_path: Path, line: str, fault: str) -> None:
    path = tmp_path / "comp4_det_test_car.txt"
    path.write_text(f"000007 0.5 1 1 9 9\n{line}\n")
    with pytest.raises(DataError) as caught:
        read_results(tmp_path, "test", ["car"], ["000007"])
    assert str(caught.value).startswith(f"{path}: ")
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"comp4_det_test_car\.txt: there is no such file of results"):
        read_results(tmp_path, "test", ["car"], [])
    (tmp_path / "comp4_det_test_car.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is no text"):
        read_results(tmp_path, "test", ["car"], [])
