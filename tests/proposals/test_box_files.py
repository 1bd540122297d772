"""Files of boxes: both formats, there and back, and every fault."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from spp_det.errors import DataError
from spp_det.proposals import BoxFile
from spp_det.proposals.files import save_boxes

IMAGE = np.zeros((50, 80, 3), np.uint8)
BOXES = np.array([[0, 0, 80, 50], [3, 4, 20, 30]], np.float32)


def write_mat(path: Path, boxes: list, images: list) -> Path:
    content = {"boxes": np.empty((1, len(boxes)), object), "images": np.empty((len(images), 1), object)}
    for i, array in enumerate(boxes):
        content["boxes"][0, i] = array
    for i, name in enumerate(images):
        content["images"][i, 0] = name
    scipy.io.savemat(path, content)
    return path


def fault_of(path: Path, image_id: str = "a", image: np.ndarray = IMAGE) -> str:
    with pytest.raises(DataError) as caught:
        BoxFile(path).propose(image, image_id)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


@settings(deadline=None, max_examples=20)
@given(
    content=st.dictionaries(
        st.sampled_from(["000001", "2008_000002", "folder/name", "file", "ä b"]),
        st.lists(
            st.tuples(st.integers(0, 40), st.integers(0, 20), st.integers(41, 80), st.integers(21, 50)), max_size=5
        ),
    )
)
def test_npz_there_and_back(content: dict, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("boxes") / "boxes.npz"
    save_boxes(path, {name: np.array(boxes, np.float32).reshape(-1, 4) for name, boxes in content.items()})
    file = BoxFile(path)
    for name, boxes in content.items():
        found = file.propose(IMAGE, name).boxes
        assert found.dtype == np.float32
        assert [tuple(box) for box in found.tolist()] == boxes


def test_numpys_own_npz_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "b.npz", a=BOXES.astype(np.float64), b=BOXES.astype(np.int32)[:0])
    np.testing.assert_array_equal(BoxFile(tmp_path / "b.npz").propose(IMAGE, "a").boxes, BOXES)
    assert BoxFile(tmp_path / "b.npz").propose(IMAGE, "b").boxes.shape == (0, 4)


def test_equal_boxes_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one.npz", "two.npz"):
        save_boxes(tmp_path / name, {"a": BOXES, "b": BOXES[:1]})
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_mat_of_the_release_is_turned_into_our_boxes(tmp_path: Path) -> None:
    matlab = np.array([[1, 1, 50, 80], [5, 4, 30, 20]], np.uint16)  # y1 x1 y2 x2, from 1, inclusive
    path = write_mat(tmp_path / "voc.mat", [matlab, matlab.astype(float)[:1], np.zeros((0, 0))], ["a", "b", "c"])
    file = BoxFile(path)
    np.testing.assert_array_equal(file.propose(IMAGE, "a").boxes, BOXES)
    np.testing.assert_array_equal(file.propose(IMAGE, "b").boxes, BOXES[:1])
    assert file.propose(IMAGE, "c").boxes.shape == (0, 4)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "there is no such file" in fault_of(tmp_path / "none.npz")
    assert "there is no such file" in fault_of(tmp_path / "none.mat")


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    assert ".npz and .mat are read" in fault_of(tmp_path / "boxes.csv")


@pytest.mark.parametrize("suffix", [".npz", ".mat"])
@pytest.mark.parametrize(
    "content", [b"", b"no such thing", b"PK\x03\x04 half a zip", bytes(200), b"MATLAB 5.0 MAT-file" + b" " * 200]
)
def test_a_file_that_cannot_be_read(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"boxes{suffix}"
    path.write_bytes(content)
    assert f"is not a readable {suffix}" in fault_of(path)


@pytest.mark.parametrize("suffix", [".npz", ".mat"])
def test_a_file_cut_short(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"boxes{suffix}"
    if suffix == ".npz":
        save_boxes(path, {"a": BOXES})
    else:
        write_mat(path, [np.arange(4000.0).reshape(-1, 4)], ["a"])
    path.write_bytes(path.read_bytes()[:-50])
    assert f"is not a readable {suffix}" in fault_of(path)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", a=np.array([{"a": 1}], object))
    assert "is not a readable .npz" in fault_of(tmp_path / "objects.npz")
    (tmp_path / "bare.npz").write_bytes(pickle.dumps({"a": 1}))
    assert "is not a readable .npz" in fault_of(tmp_path / "bare.npz")


def test_an_npy_under_the_name_of_an_npz(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, BOXES)
    (tmp_path / "bare.npz").write_bytes(stream.getvalue())
    assert "is not a readable .npz" in fault_of(tmp_path / "bare.npz")


def test_an_image_that_the_file_lacks(tmp_path: Path) -> None:
    save_boxes(tmp_path / "b.npz", {"a": BOXES})
    assert "has no boxes of image 'z'" in fault_of(tmp_path / "b.npz", "z")


def test_boxes_of_another_image(tmp_path: Path) -> None:
    save_boxes(tmp_path / "b.npz", {"a": BOXES})
    text = fault_of(tmp_path / "b.npz", "a", IMAGE[:, :60])
    assert "image 'a' is 60 x 50 pixels, but its box [0.0, 0.0, 80.0, 50.0] lies outside" in text
    matlab = write_mat(tmp_path / "b.mat", [np.array([[0, 1, 50, 80]], float)], ["a"])  # counts from 0
    assert "negative coordinate" in fault_of(matlab)


@pytest.mark.parametrize(
    ("array", "fault"),
    [
        (np.zeros((3, 5)), "the shape [N, 4], not [3, 5]"),
        (np.zeros(4), "the shape [N, 4], not"),
        (np.array([[5, 5, 5, 9.0]]), "is empty"),
        (np.array([[5, 5, np.nan, 9.0]]), "not finite"),
        (np.array([["a", "b", "c", "d"]]), "are not numbers"),
    ],
)
def test_an_array_that_is_no_boxes(tmp_path: Path, array: np.ndarray, fault: str) -> None:
    np.savez(tmp_path / "b.npz", a=array)
    text = fault_of(tmp_path / "b.npz")
    assert "image 'a'" in text
    assert fault in text


def test_a_mat_of_another_content(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "b.mat", {"boxes": BOXES})
    assert "lacks the cell arrays" in fault_of(tmp_path / "b.mat")
    scipy.io.savemat(tmp_path / "c.mat", {"boxes": BOXES, "images": BOXES})
    assert "are not cell arrays of one length" in fault_of(tmp_path / "c.mat")
    assert "are not cell arrays of one length" in fault_of(write_mat(tmp_path / "d.mat", [BOXES], ["a", "b"]))
    assert "no image id" in fault_of(write_mat(tmp_path / "e.mat", [BOXES], [BOXES]))
    assert "the shape [N, 4], not [2, 3]" in fault_of(write_mat(tmp_path / "f.mat", [BOXES[:, :3]], ["a"]))


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "b.npz"
    save_boxes(path, {"a": BOXES})
    before = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(np.lib.format, "write_array", fail)
    with pytest.raises(OSError, match="no space left"):
        save_boxes(path, {"a": BOXES[:1]})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_wrong_boxes_or_suffix_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not as boxes\.mat"):
        save_boxes(tmp_path / "boxes.mat", {})
    with pytest.raises(ValueError, match="shape"):
        save_boxes(tmp_path / "boxes.npz", {"a": np.zeros((2, 3), np.float32)})
    assert not list(tmp_path.iterdir())
