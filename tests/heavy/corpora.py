"""The readers of files that others make, and right files of each kind for them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import torch
from mutation import mend_png
from PIL import Image as PillowImage
from reference.caffe_wire import NEW, OLD, OLDEST, blob, layer, network
from reference.tiny_run import tiny_config
from safetensors.torch import save as save_tensors

from spp_det.classification.feature_files import Features, read_features, write_features
from spp_det.config import load_config
from spp_det.datasets import CocoDataset, YoloDataset
from spp_det.datasets.check import check_split
from spp_det.datasets.ilsvrc import read_classes
from spp_det.datasets.voc_annotations import read_annotation
from spp_det.datasets.voc_results import read_results
from spp_det.detection.bundle import load_detector
from spp_det.files import read_arrays, read_json
from spp_det.images import image_size, read_image
from spp_det.matlab import read_mat
from spp_det.networks.weights import read_tensors
from spp_det.original import convert_models, read_caffemodel
from spp_det.pipeline.status import run_status
from spp_det.proposals import BoxFile
from spp_det.states import peek_state, write_state


@dataclass(frozen=True)
class Reader:
    """path: where a changed file is put; read: what reads it there; corpus: right files; text: whether words change;
    mend: what makes every second changed file whole enough to be looked into.
    """

    path: Path
    read: Callable[[Path], Any]
    corpus: Sequence[bytes]
    text: bool = False
    mend: Callable[[bytes], bytes] | None = None


def readers(folder: Path, run: Path) -> dict[str, Reader]:
    """All of them by name. folder: for their files; run: a trained run, whose files are changed in place."""
    return {**_images(folder), **_annotations(folder), **_arrays(folder), **_models(folder), **_run(run)}


def _images(folder: Path) -> dict[str, Reader]:
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 4), np.uint8)
    smooth = PillowImage.fromarray(np.mgrid[:24, :32].sum(0).astype(np.uint8) * 4)
    exif = PillowImage.Exif()
    exif[0x0112] = 6

    def saved(kind: str, modes: Sequence[str], **options: Any) -> list[bytes]:
        contents = []
        for mode in modes:
            stream = io.BytesIO()
            image = smooth if mode == "L" else PillowImage.fromarray(noise).convert(mode)
            image.save(stream, kind, **options)
            contents.append(stream.getvalue())
        return contents

    def read(path: Path) -> None:
        image = read_image(path)
        assert image.dtype == np.uint8
        assert image.shape == (*image_size(path), 3)

    kinds = {
        "jpeg": saved("JPEG", ("RGB", "L", "CMYK"), exif=exif) + saved("JPEG", ("RGB",), progressive=True),
        "png": saved("PNG", ("RGB", "RGBA", "P", "L", "1", "LA"), exif=exif) + saved("PNG", ("I;16",)),
        "tiff": [*saved("TIFF", ("RGB", "L", "RGBA")), *saved("TIFF", ("RGB", "L"), compression="tiff_lzw")],
        "webp": saved("WEBP", ("RGB", "RGBA")) + saved("WEBP", ("RGB",), lossless=True),
        "gif": saved("GIF", ("P", "L")),
        "bmp": saved("BMP", ("RGB", "L", "1")) + saved("PPM", ("RGB", "L", "1")),
    }
    mend = {"png": mend_png}
    return {kind: Reader(folder / f"a.{kind}", read, corpus, mend=mend.get(kind)) for kind, corpus in kinds.items()}


def _annotations(folder: Path) -> dict[str, Reader]:
    boxes = "".join(
        f"<object><name>{name}</name><difficult>{n}</difficult><bndbox><xmin>{2 + n}</xmin><ymin>3.5</ymin>"
        "<xmax>20</xmax><ymax>18</ymax></bndbox><part><name>head</name></part></object>"
        for n, name in enumerate(("cat", "dog"))
    )
    xml = f"<annotation><filename>a.jpg</filename><size><width>32</width><height>24</height></size>{boxes}</annotation>"
    declared = '<?xml version="1.0" encoding="utf-8"?>\n' + xml.replace("cat", "dog")

    places = {name: folder / name for name in ("coco", "yolo", "voc", "ilsvrc")}
    for place in places.values():
        (place / "images").mkdir(parents=True, exist_ok=True)
        PillowImage.new("RGB", (32, 24)).save(place / "images" / "a.jpg")
    images = [{"id": n, "file_name": f"{name}.jpg", "height": 24, "width": 32} for n, name in enumerate("ab")]
    objects = [
        {"id": n, "image_id": n % 2, "category_id": 5, "bbox": [2, 3.5, 10, 9], "area": 90.0, "iscrowd": n // 2}
        for n in range(3)
    ]
    coco = {"images": images, "annotations": objects, "categories": [{"id": 5, "name": "cat"}, {"id": 7, "name": "x"}]}
    (places["yolo"] / "labels").mkdir(exist_ok=True)
    yaml = places["yolo"] / "data.yaml"
    lines = (
        "path: .\ntrain: images\nval: ../images\nnc: 2\nnames:\n  0: cat\n  1: 'dog'\n",
        "train: [images]\nnames: [a, b]\n",
    )
    yaml.write_text(lines[0])

    def coco_data(path: Path) -> None:
        dataset = CocoDataset(path.parent, path.name, images="images")
        check_split(dataset, "all").to_dict()

    def yolo_data(path: Path) -> None:
        yaml.write_text(lines[0])
        check_split(YoloDataset(path.parent.parent), "all").to_dict()

    results = "a 0.5 1 2 10 12\nb -1.25 3 4 9.5 20\n"
    return {
        "xml": Reader(
            folder / "a.xml",
            lambda path: read_annotation(path, ("cat", "dog"), lambda: (24, 32)),
            [xml.encode(), declared.encode(), declared.encode("utf-16")],
            text=True,
        ),
        "coco json": Reader(places["coco"] / "train.json", coco_data, [json.dumps(coco).encode()], text=True),
        "yolo txt": Reader(
            places["yolo"] / "labels" / "a.txt",
            yolo_data,
            [b"0 0.5 0.5 0.25 0.25\n1 0.2 0.3 0.1 0.1\n", b"1 0.1 0.1 0.5 0.1 0.5 0.5 0.2 0.6\n"],
            text=True,
        ),
        "yolo yaml": Reader(yaml, lambda path: YoloDataset(path), [line.encode() for line in lines], text=True),
        "voc results": Reader(
            places["voc"] / "comp4_det_test_cat.txt",
            lambda path: read_results(path.parent, "test", ("cat",), ("a", "b")),
            [results.encode()],
            text=True,
        ),
        "ilsvrc classes": Reader(
            places["ilsvrc"] / "devkit" / "data" / "map_det.txt",
            lambda path: read_classes(path.parent.parent.parent),
            [b"n01 1 cat\nn02 2 wild dog\n"],
            text=True,
        ),
    }


def _arrays(folder: Path) -> dict[str, Reader]:
    rng = np.random.default_rng(1)
    tensors = {
        "conv1.weight": torch.from_numpy(rng.normal(size=(4, 3, 3, 3)).astype(np.float32)),
        "conv1.bias": torch.zeros(4, dtype=torch.float16),
        "count": torch.arange(3),
    }
    boxes = {"a": np.array([[1, 2, 10, 12.5]], np.float32), "b": np.zeros((0, 4), np.float32)}
    image = np.zeros((24, 32, 3), np.uint8)

    def torch_file(**options: bool) -> bytes:
        stream = io.BytesIO()
        torch.save({"state_dict": tensors}, stream, **options)
        return stream.getvalue()

    def npz(save: Callable[..., None], arrays: dict[str, Any]) -> bytes:
        stream = io.BytesIO()
        save(stream, **arrays)
        return stream.getvalue()

    def mat(**options: bool) -> bytes:
        stream = io.BytesIO()
        names, cells = np.empty((2, 1), object), np.empty((2, 1), object)
        for row, name in enumerate("ab"):
            names[row, 0], cells[row, 0] = name, np.array([[2.0, 1, 12, 10]]) + row
        scipy.io.savemat(stream, {"images": names, "boxes": cells}, **options)
        return stream.getvalue()

    def proposals(path: Path) -> None:
        BoxFile(path).propose(image, "a")

    arrays = {name: value.numpy() for name, value in tensors.items()}
    write_state(folder / "state", {"w": arrays["conv1.weight"]}, {"settings": {"a": 1}, "iteration": 3, "log": []})
    write_features(folder / "features", Features(arrays["conv1.weight"][0, 0], np.arange(3), ("a", "b"), {"side": 9}))
    return {
        "safetensors": Reader(folder / "a.safetensors", read_tensors, [save_tensors(tensors)]),
        "arrays": Reader(folder / "b.safetensors", read_arrays, [save_tensors(tensors)]),
        "pth": Reader(folder / "a.pth", read_tensors, [torch_file(), torch_file(_use_new_zipfile_serialization=False)]),
        "npz": Reader(folder / "a.npz", read_tensors, [npz(np.savez, arrays), npz(np.savez_compressed, arrays)]),
        "npz of boxes": Reader(folder / "b.npz", proposals, [npz(np.savez, boxes), npz(np.savez_compressed, boxes)]),
        "mat of boxes": Reader(folder / "b.mat", proposals, [mat(do_compression=True), mat(do_compression=False)]),
        "checkpoint": Reader(folder / "c.safetensors", peek_state, [(folder / "state").read_bytes()]),
        "features": Reader(folder / "f.safetensors", read_features, [(folder / "features").read_bytes()]),
    }


def _models(folder: Path) -> dict[str, Reader]:
    rng = np.random.default_rng(2)
    weight, bias, matrix = rng.normal(size=(4, 3, 2, 2)), rng.normal(size=4), rng.normal(size=(3, 5))
    nets = [
        network([
            layer("conv1", "convolution", [blob(weight, legacy), blob(bias, legacy, double=form == NEW)], form),
            layer("fc6", "inner product", [blob(matrix, legacy, packed=False)], form),
        ])
        for form, legacy in ((OLDEST, True), (OLD, True), (NEW, False))
    ]  # fmt: skip
    names = np.empty((2, 1), object)
    names[:, 0] = ["cat", "dog"]
    model = {
        "classes": names,
        "detectors": {"W": rng.normal(size=(2, 6)).astype(np.float32), "B": rng.normal(size=(2, 1))},
        "training_opts": {"layer": 7.0, "feat_norm_mean": 26.5},
    }

    def mat(**options: bool) -> bytes:
        stream = io.BytesIO()
        scipy.io.savemat(stream, {"rcnn_model": model}, **options)
        return stream.getvalue()

    mats = [mat(do_compression=True), mat(do_compression=False)]
    return {
        "caffemodel": Reader(folder / "a.caffemodel", read_caffemodel, nets),
        "mat": Reader(folder / "a.mat", read_mat, mats),
        "mat of a model": Reader(folder / "m.mat", lambda path: convert_models(path, folder / "models"), mats),
    }


def _run(run: Path) -> dict[str, Reader]:
    """A run's own files; what is there now is right, and is put back after each reading."""

    def loader(path: Path) -> Callable[[Path], None]:
        right = path.read_bytes()

        def load(changed: Path) -> None:
            try:
                load_detector(run)
            finally:
                changed.write_bytes(right)

        return load

    def status(path: Path) -> None:
        run_status(run)

    files = ("config.toml", "detector.json", "head.safetensors", "svms.safetensors", "regressor.safetensors")
    found = {
        f"run: {name}": Reader(
            run / name, loader(run / name), [(run / name).read_bytes()], text=name.endswith(("toml", "json"))
        )
        for name in files
    }
    toml = Reader(run / "experiment.toml", load_config, [(run / "config.toml").read_bytes()], text=True)
    state = Reader(run / "a.json", read_json, [(run / "detector.json").read_bytes()], text=True)
    return {"toml": toml, "json": state, **found}


def train_tiny(folder: Path) -> Path:
    """A run to change the files of."""
    from spp_det.pipeline import train

    train(tiny_config(folder / "shapes"), folder / "run")
    return folder / "run"
