"""A pickle is never loaded: planted in every place that takes a file, it is refused in one line, and not run."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference.pictures import seen

from spp_det.classification.feature_files import Features, read_features, read_svm
from spp_det.config import load_config
from spp_det.datasets import CocoDataset, YoloDataset, recognise
from spp_det.datasets.voc_annotations import read_annotation
from spp_det.detection.bundle import load_detector
from spp_det.detection.memory import memory_path
from spp_det.files import read_arrays, read_json, read_npz
from spp_det.images import image_size, read_image
from spp_det.networks.weights import read_tensors
from spp_det.original import convert_caffemodel, convert_models, read_caffemodel
from spp_det.pipeline.status import run_status
from spp_det.proposals import BoxFile
from spp_det.states import peek_state, read_state
from spp_det.tooling import run_tool

FEATURES = Features(np.zeros((2, 3), np.float32), np.array([0, 1]), ("a", "b"), {})


class Bomb:
    """What, unpickled, makes the file `marker`."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


def saved_by_torch(bomb: Bomb, **options: bool) -> bytes:
    stream = io.BytesIO()
    torch.save({"conv1.weight": bomb}, stream, **options)
    return stream.getvalue()


def saved_by_numpy(bomb: Bomb, save: Callable[..., None]) -> bytes:
    stream = io.BytesIO()
    save(stream, np.array([bomb], object))
    return stream.getvalue()


PAYLOADS: dict[str, Callable[[Bomb], bytes]] = {
    "pickle": pickle.dumps,
    "torch": saved_by_torch,
    "torch as it was": lambda bomb: saved_by_torch(bomb, _use_new_zipfile_serialization=False),
    "npz": lambda bomb: saved_by_numpy(bomb, np.savez),
    "npy": lambda bomb: saved_by_numpy(bomb, np.save),
}


def load_all(run: Path) -> None:
    """Everything that lies in a run's folder."""
    detector = load_detector(run)
    for name in detector.class_names:
        detector.memory(name)
    detector.background()


def drawn(path: Path) -> None:
    for image in seen(path):
        assert image.size


# Where a file is planted, below the folder of a run or beside it, and what reads it there.
FILES: dict[str, Callable[[Path], Any]] = {
    "net.pth": read_tensors,
    "net.pt": read_tensors,
    "net.npz": read_tensors,
    "net.safetensors": read_tensors,
    "net.caffemodel": read_caffemodel,
    "convert.caffemodel": lambda path: convert_caffemodel(path, path.with_suffix(".safetensors")),
    "model.mat": lambda path: convert_models(path, path.parent / "out"),
    "boxes.npz": BoxFile,
    "boxes.mat": BoxFile,
    "any.npz": read_npz,
    "features.st": read_features,
    "svm.st": lambda path: read_svm(path, FEATURES),
    "stage.safetensors": read_arrays,
    "stage.json": read_json,
    "checkpoint.safetensors": lambda path: read_state(path, {}),
    "peeked.safetensors": peek_state,
    "experiment.toml": load_config,
    "image.jpg": read_image,
    "size.png": image_size,
    "video.mp4": drawn,
    "object.xml": lambda path: read_annotation(path, ("a",), lambda: (9, 9)),
    "data.yaml": YoloDataset,
    "train.json": lambda path: CocoDataset(path.parent, "train"),
    "found.json": recognise,
    "run/config.toml": lambda path: load_all(path.parent),
    "run/detector.json": lambda path: load_all(path.parent),
    "run/head.safetensors": lambda path: load_all(path.parent),
    "run/svms.safetensors": lambda path: load_all(path.parent),
    "run/regressor.safetensors": lambda path: load_all(path.parent),
    "run/calibration.safetensors": lambda path: load_all(path.parent),
    "run/background.safetensors": lambda path: load_all(path.parent),
    "run/examples": lambda path: load_all(path.parent),
    "run/training.json": lambda path: run_status(path.parent),
}


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("name", FILES)
def test_a_planted_pickle_is_one_line_and_is_not_run(
    run: Path, tmp_path: Path, name: str, payload: str, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = tmp_path / "was_run"
    path = tmp_path / name
    if name == "run/examples":
        path = memory_path(run, read_json(run / "detector.json")["class_names"][0])
        path.parent.mkdir()
    path.write_bytes(PAYLOADS[payload](Bomb(marker)))
    target = tmp_path / name

    with pytest.raises(SystemExit) as end:
        run_tool(lambda _: FILES[name](target))
    lines = capsys.readouterr().err.splitlines()
    assert end.value.code == 1
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert path.name.split(".")[0] in lines[-1]
    assert not marker.exists()


def test_the_payloads_do_run_where_they_are_trusted(tmp_path: Path) -> None:
    for name, payload in PAYLOADS.items():
        marker = tmp_path / name.replace(" ", "_")
        content = io.BytesIO(payload(Bomb(marker)))
        if name == "pickle":
            pickle.load(content)
        elif name.startswith("torch"):
            torch.load(content, weights_only=False)
        else:
            loaded = np.load(content, allow_pickle=True)
            assert loaded["arr_0"] is not None if name == "npz" else True
        assert marker.exists(), name
