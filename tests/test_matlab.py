"""MATLAB's files: what scipy writes is read as scipy reads it, and damaged files give one line and never more."""

from __future__ import annotations

import importlib.util
import random
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from spp_det.errors import DataError
from spp_det.matlab import MAX_BYTES, read_mat

TYPES = ("float64", "float32", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def cells(*values: Any) -> np.ndarray:
    array = np.empty((1, len(values)), object)
    for i, value in enumerate(values):
        array[0, i] = value
    return array


def fault_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_mat(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


# --- what is read


@settings(deadline=None, max_examples=60)
@given(
    dtype=st.sampled_from(TYPES),
    shape=st.lists(st.integers(0, 4), min_size=2, max_size=4),
    compressed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_numbers(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, shape: list[int], compressed: bool, seed: int
) -> None:
    array = np.random.default_rng(seed).normal(scale=50, size=shape).astype(np.int8).astype(dtype)
    path = tmp_path_factory.mktemp("mat") / "a.mat"
    scipy.io.savemat(path, {"a": array, "b": array.T}, do_compression=compressed)
    found = read_mat(path)
    assert list(found) == ["a", "b"]
    assert found["a"].dtype == array.dtype
    np.testing.assert_array_equal(found["a"], array)
    np.testing.assert_array_equal(found["b"], array.T)
    assert list(read_mat(path, ["b", "c"])) == ["b"]


@pytest.mark.parametrize("compressed", [False, True])
def test_cells_structs_and_text(tmp_path: Path, compressed: bool) -> None:
    inner = {"name": "bär", "rows": np.arange(6.0).reshape(2, 3), "empty": np.zeros((0, 0)), "none": ""}
    content = {
        "classes": cells("aeroplane", "tv", ""),
        "model": {"detectors": {"W": np.float32([[1, 2]]), "B": 3.0}, "deep": cells(cells(inner))},
        "many": np.array([[(1.0, "a"), (2.0, "b")]], dtype=[("x", object), ("y", object)]),
        "lines": np.array(["ab", "cd", "ef"]),
        "sparse": scipy.sparse.eye(3),
        "complex": np.array([[1j]]),
    }
    scipy.io.savemat(tmp_path / "a.mat", content, do_compression=compressed)
    found = read_mat(tmp_path / "a.mat")
    assert found["classes"].tolist() == [["aeroplane", "tv", ""]]
    assert found["model"]["detectors"]["W"].tolist() == [[1, 2]]
    assert found["model"]["detectors"]["B"].item() == 3
    deep = found["model"]["deep"][0, 0][0, 0]
    assert deep["name"] == "bär"
    assert deep["rows"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert deep["empty"].shape == (0, 0)
    assert deep["none"] == ""
    assert [each["y"] for each in found["many"].ravel()] == ["a", "b"]
    assert found["lines"].tolist() == ["ab", "cd", "ef"]
    assert found["sparse"] is None
    assert found["complex"] is None


def element(kind: int, data: bytes, order: str) -> bytes:
    return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(kind: int, dims: tuple[int, ...], rest: bytes, order: str = "<", name: bytes = b"a") -> bytes:
    header = element(6, struct.pack(f"{order}II", kind, 0), order)
    header += element(5, struct.pack(f"{order}{len(dims)}i", *dims), order) + element(1, name, order)
    return element(14, header + rest, order)


def write(folder: Path, content: bytes, order: str = "<", version: int = 0x0100) -> Path:
    path = folder / "made.mat"
    mark = struct.pack(f"{order}H", version) + (b"IM" if order == "<" else b"MI")
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + mark + content)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders(tmp_path: Path, order: str) -> None:
    number = element(4, struct.pack(f"{order}3H", 1, 2, 300), order)  # doubles, stored as the whole numbers they are
    small = struct.pack(f"{order}I", 4 << 16 | 4) + struct.pack(f"{order}2H", ord("h"), 0x263A)  # two characters
    content = matrix(6, (1, 3), number, order) + matrix(4, (1, 2), small, order, b"text")
    found = read_mat(write(tmp_path, content, order))
    assert found["a"].dtype == np.float64
    assert found["a"].tolist() == [[1, 2, 300]]
    assert found["text"] == "h\u263a"


# --- faults


def test_files_of_other_kinds(tmp_path: Path) -> None:
    assert fault_of(tmp_path / "none.mat") == "there is no such .mat file"
    for content in (b"", b"text", bytes(500)):
        (tmp_path / "x.mat").write_bytes(content)
        assert "it does not begin as a MATLAB 5 file does" in fault_of(tmp_path / "x.mat")
    assert "its version is 0x0200, not 0x0100" in fault_of(write(tmp_path, b"", version=0x0200))
    scipy.io.savemat(tmp_path / "four.mat", {"a": 1.0}, format="4")
    assert "is not a readable .mat" in fault_of(tmp_path / "four.mat")


def test_version_7_3_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    path = tmp_path / "new.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert "is of MATLAB 7.3 (HDF5): `pip install h5py`, or in MATLAB load it and save it with '-v7'" in fault_of(path)


def test_sizes_are_held_against_the_bytes_that_are_there(tmp_path: Path) -> None:
    def fault(content: bytes) -> str:
        return fault_of(write(tmp_path, content))

    one = element(9, struct.pack("<d", 1), "<")
    assert "claims 4294967280 bytes" in fault(struct.pack("<II", 14, 0xFFFFFFF0))
    assert "a small element claims 9 bytes" in fault(struct.pack("<II", 9 << 16 | 5, 0))
    assert "has the dimensions [2147483647, 2147483647], but 1 numbers" in fault(matrix(6, (2**31 - 1,) * 2, one))
    assert "claims 4611686014132420609 elements" in fault(matrix(1, (2**31 - 1,) * 2, one))
    fieldless = element(5, struct.pack("<i", 1), "<") + element(1, b"", "<")
    assert "claims 0 elements" in fault(matrix(2, (2**31 - 1, 2), fieldless))
    assert read_mat(write(tmp_path, matrix(4, (2**31 - 1, 0), element(16, b"", "<")))) == {"a": ""}
    flags = element(6, bytes(16), "<") + element(5, bytes(8), "<") + element(1, b"a", "<") + one
    assert "the flags of a variable have 16 bytes, not 8" in fault(element(14, flags, "<"))
    assert "has the dimensions" in fault(matrix(6, (-1, 1), one))
    assert "has the dimensions" in fault(matrix(6, (1,) * 33, one))
    assert "fractions where whole numbers belong" in fault(matrix(9, (1, 1), one))
    assert "ends before a cell or field" in fault(matrix(1, (1, 1), b""))


def test_compressed_variables_are_bounded(tmp_path: Path) -> None:
    whole = matrix(6, (1, 1000), element(2, bytes(1000), "<"))
    wrong_size = struct.pack("<II", 14, len(whole) + 1) + whole[8:]
    for content, fault in (
        (struct.pack("<II", 15, 9) + b"not zlib!", "is damaged"),
        (zlib.compress(b"abc"), "is cut short"),
        (zlib.compress(wrong_size), "claims 1065 bytes and holds"),
        (zlib.compress(struct.pack("<II", 14, MAX_BYTES - 1) + bytes(9)), "claims 4294967295 bytes and holds 9"),
    ):
        packed = (
            content if content.startswith(struct.pack("<I", 15)) else struct.pack("<II", 15, len(content)) + content
        )
        assert fault in fault_of(write(tmp_path, packed)), fault


def test_depth_is_bounded(tmp_path: Path) -> None:
    content = matrix(6, (1, 1), element(9, bytes(8), "<"), name=b"")
    for _ in range(40):
        content = matrix(1, (1, 1), content, name=b"")
    assert "more than 32 deep" in fault_of(write(tmp_path, content))


# --- damaged files


def sound_file(path: Path, compressed: bool) -> bytes:
    model = {
        "detectors": {"W": np.ones((2, 5), np.float32), "B": np.ones((2, 1))},
        "classes": cells("a", "bc"),
        "training_opts": {"layer": 7, "feat_norm_mean": 20.0},
    }
    content = {"spp_model": model, "boxes": cells(np.ones((3, 4)), np.zeros((0, 4))), "images": cells("x", "y")}
    scipy.io.savemat(path, content, do_compression=compressed)
    return path.read_bytes()


def read_or_refuse(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    fault = None
    try:
        read_mat(path)
    except DataError as caught:
        fault = str(caught)
    assert fault is None or (fault.startswith(f"{path}: ") and "\n" not in fault)


@pytest.mark.parametrize("compressed", [False, True])
def test_files_cut_short(tmp_path: Path, compressed: bool) -> None:
    content = sound_file(tmp_path / "a.mat", compressed)
    for size in range(0, len(content), 5):
        read_or_refuse(tmp_path / "cut.mat", content[:size])


@pytest.mark.parametrize("compressed", [False, True])
def test_flipped_bits(tmp_path: Path, compressed: bool) -> None:
    content = sound_file(tmp_path / "a.mat", compressed)
    rng = random.Random(5)
    for _ in range(600):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        read_or_refuse(tmp_path / "flipped.mat", bytes(damaged))


@settings(deadline=None, max_examples=100)
@given(content=st.binary(max_size=80))
def test_any_bytes_behind_a_header(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    read_or_refuse(tmp_path_factory.mktemp("any") / "x.mat", b" " * 124 + b"\x00\x01IM" + content)


# --- version 7.3, where h5py is there


@pytest.mark.skipif(importlib.util.find_spec("h5py") is None, reason="needs h5py")
def test_version_7_3(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "new.mat"
    with h5py.File(path, "w", userblock_size=512) as file:

        def put(group: Any, name: str, value: Any, kind: str) -> Any:
            node = group.create_dataset(name, data=value)
            node.attrs["MATLAB_class"] = np.bytes_(kind)
            return node

        def put_text(group: Any, name: str, text: str) -> Any:
            return put(group, name, np.array([[ord(c)] for c in text], np.uint16), "char")

        model = file.create_group("spp_model")
        model.attrs["MATLAB_class"] = np.bytes_("struct")
        put(model, "W", np.arange(6.0).reshape(2, 3).T, "double")  # HDF5 has MATLAB's dimensions the other way round
        refs = [put_text(file, f"#refs#/{i}", name).ref for i, name in enumerate(("car", "bus"))]
        put(model, "classes", np.array(refs, h5py.ref_dtype)[:, None], "cell")
        put(model, "nothing", np.array([0, 0], np.uint64), "double").attrs["MATLAB_empty"] = np.uint8(1)
        put(model, "no_text", np.array([0, 0], np.uint64), "char").attrs["MATLAB_empty"] = np.uint8(1)
    content = path.read_bytes()
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(128) + content[128:])
    found = read_mat(path)
    assert list(found) == ["spp_model"]
    assert found["spp_model"]["W"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["spp_model"]["classes"].tolist() == [["car", "bus"]]
    assert found["spp_model"]["nothing"].shape == (0, 0)
    assert found["spp_model"]["no_text"] == ""
    assert read_mat(path, ["other"]) == {}
    path.write_bytes(path.read_bytes()[:700])
    assert "is not a readable .mat of version 7.3" in fault_of(path)
