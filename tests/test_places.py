"""Images and runs at addresses, on fsspec's storage in memory: what S3 and the like do, without a server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spp_det.config import load_config
from spp_det.datasets import VOCDataset, make_shapes
from spp_det.datasets.recognise import recognise
from spp_det.datasets.shapes import SHAPES_CLASSES
from spp_det.errors import ConfigError, DataError
from spp_det.files import read_arrays, read_json, write_arrays, write_json
from spp_det.locks import locked
from spp_det.pipeline.split import open_split
from spp_det.pipeline.store import Store
from spp_det.places import as_path, is_remote


@pytest.fixture
def here(tmp_path: Path) -> Path:
    make_shapes(tmp_path / "shapes", 3, 1)
    return tmp_path / "shapes"


@pytest.fixture
def there(here: Path) -> Path:
    """The same data set at an address."""
    address = as_path(f"memory://{here.parent.name}/shapes")
    for path in here.rglob("*"):
        if path.is_file():
            (address / path.relative_to(here).as_posix()).write_bytes(path.read_bytes())
    return address


@pytest.mark.parametrize(
    "place", ["s3://bucket/a b", "s3:/bucket/a b", Path("s3://bucket/a b"), "gs://x/y", "memory:/x"]
)
def test_an_address_is_told_from_a_path(place: str | Path) -> None:
    if "memory" in str(place):
        assert is_remote(as_path(place))
        return
    try:
        assert is_remote(as_path(place))
    except ConfigError as fault:
        assert "pip install 'spp_det[cloud]'" in str(fault)  # noqa: PT017 - where that is not installed


@pytest.mark.parametrize("place", ["a/b", "/a:/b", "C:/x", "./s3:/x", Path("runs"), "data:1/x"])
def test_a_path_stays_one(place: str | Path) -> None:
    assert as_path(place) == Path(place)
    assert not is_remote(as_path(place))


def test_an_unknown_kind_is_told() -> None:
    with pytest.raises(ConfigError, match=r"nosuchthing://x: such an address needs pip install 'spp_det\[cloud\]'"):
        as_path("nosuchthing://x")


def test_a_data_set_there_is_the_one_here(here: Path, there: Path, tmp_path: Path) -> None:
    local, remote = (VOCDataset(root, classes=SHAPES_CLASSES) for root in (here, str(there)))
    assert local.ids == remote.ids
    for image_id in local.ids:
        np.testing.assert_array_equal(local.image(image_id), remote.image(image_id))
        assert local.size(image_id) == remote.size(image_id)
    one = open_split(Store(tmp_path / "one"), local)
    two = open_split(Store(tmp_path / "two"), remote)
    assert (one.images_key, one.targets_key, one.sizes) == (two.images_key, two.targets_key, two.sizes)
    assert recognise(there).data_config().train == recognise(here).data_config().train


def test_nothing_is_generated_there() -> None:
    with pytest.raises(DataError, match=r"memory://new/shapes: holds no shapes, and they are generated on a disk only"):
        make_shapes("memory://new/shapes", 3, 1)


def test_what_changes_there_is_read_again(there: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    before = open_split(store, VOCDataset(there, classes=SHAPES_CLASSES))
    path = there / "VOC2007" / "JPEGImages" / "train_00001.jpg"
    path.write_bytes((there / "VOC2007" / "JPEGImages" / "train_00002.jpg").read_bytes())
    after = open_split(store, VOCDataset(there, classes=SHAPES_CLASSES))
    assert before.images_key != after.images_key
    path.unlink()
    with pytest.raises(DataError, match=r"memory://.*train_00001.jpg: there is no such image"):
        open_split(Store(tmp_path / "new"), VOCDataset(there, classes=SHAPES_CLASSES))


def test_files_are_written_and_read_there(there: Path) -> None:
    write_json(there / "run" / "a.json", {"x": [1]})
    write_arrays(there / "run" / "b.safetensors", {"y": np.arange(3)})
    assert read_json(there / "run" / "a.json") == {"x": [1]}
    assert read_arrays(str(there / "run" / "b.safetensors"))["y"].tolist() == [0, 1, 2]
    for read in (read_json, read_arrays):
        with pytest.raises(DataError, match=r"memory://.*none: there is no such file"):
            read(there / "none")
    (there / "c.toml").write_bytes(b'[data]\nroot = "s3://bucket/voc"\n')
    assert load_config(there / "c.toml").data.root == "s3://bucket/voc"


def test_stages_stay_on_a_disk_and_locks_too(there: Path) -> None:
    with pytest.raises(ConfigError, match=r"memory://.+/store: stages are kept on a disk.+ name one with --store"):
        Store(there / "store")
    with locked(there / "run.lock"), locked(there / "run.lock"):  # nothing to lock there
        pass
