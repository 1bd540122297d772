from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image as PillowImage

from spp_det.datasets import VOC_CLASSES, make_shapes, recognise
from spp_det.datasets.check import check_dataset
from spp_det.errors import DataError

TOOL = Path(__file__).resolve().parents[2] / "tools" / "prepare_data.py"


def silent(ids, _):  # type: ignore[no-untyped-def]
    return ids


def annotate(folder: Path, image_id: str, objects: str, size: tuple[int, int] = (30, 40)) -> None:
    stated = f"<size><width>{size[1]}</width><height>{size[0]}</height></size>"
    (folder / "Annotations" / f"{image_id}.xml").write_text(f"<annotation>{stated}{objects}</annotation>")
    PillowImage.new("RGB", (40, 30)).save(folder / "JPEGImages" / f"{image_id}.jpg")


def item(name: str, difficult: int = 0, xmax: int = 9) -> str:
    box = f"<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{xmax}</xmax><ymax>9</ymax></bndbox>"
    return f"<object><name>{name}</name><difficult>{difficult}</difficult>{box}</object>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images of nuts and bolts."""
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (tmp_path / name).mkdir(parents=True)
    annotate(tmp_path, "a", item("nut") + item("nut") + item("bolt", 1))
    annotate(tmp_path, "b", "")
    annotate(tmp_path, "c", item("nut", 1) + item("bolt"))
    (tmp_path / "ImageSets/Main/mine.txt").write_text("a\nb\nc\n")
    return tmp_path


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prepare_data", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_counts(folder: Path) -> None:
    (report,) = check_dataset(folder, "2007", (), ("nut", "bolt"), silent)
    assert (report.split, report.total, report.faults) == ("mine", 3, [])
    assert report.images.tolist() == [1, 1]
    assert report.objects.tolist() == [2, 1]
    assert report.difficult.tolist() == [1, 1]


def test_all_faults_are_listed(folder: Path) -> None:
    annotate(folder, "a", item("washer"))
    annotate(folder, "b", item("nut"), (40, 30))  # sides exchanged
    annotate(folder, "c", item("nut", xmax=41))
    image = folder / "JPEGImages/c.jpg"
    image.write_bytes(image.read_bytes()[:-8])
    (folder / "ImageSets/Main/mine.txt").write_text("a\nb\nc\nd\n")
    (report,) = check_dataset(folder, "2007", ["mine"], ("nut", "bolt"), silent)
    told = [(Path(fault.path).name, fault.fault) for fault in report.faults]
    expected = [
        ("a.xml", "unknown class 'washer'; known are nut, bolt"),
        ("b.xml", "states 30 x 40 pixels, but its image has 40 x 30"),
        ("c.xml", "lies outside its image"),
        ("c.jpg", "is a broken image"),
        ("d.xml", "there is no such annotation"),
        ("d.jpg", "there is no such image"),
    ]
    assert [name for name, _ in told] == [name for name, _ in expected]
    for (_, fault), (_, words) in zip(told, expected, strict=True):
        assert words in fault


def test_usual_splits(folder: Path) -> None:
    main = folder / "ImageSets/Main"
    assert recognise(folder).usual_splits == ("mine",)
    (main / "mine.txt").unlink()
    with pytest.raises(DataError, match="ImageSets/Main: holds no split"):
        recognise(folder)
    for name in ("train", "val", "trainval", "test", "nut_test"):
        (main / f"{name}.txt").write_text("a\n")
    assert recognise(folder).usual_splits == ("trainval", "test")
    (main / "trainval.txt").unlink()
    (main / "test.txt").unlink()
    assert recognise(folder).usual_splits == ("train", "val")


def run(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The command as from a shell: its exit code."""
    monkeypatch.setattr(sys, "argv", ["prepare_data.py", *arguments])
    with pytest.raises(SystemExit) as end:
        tool.run_tool(tool.main)
    assert isinstance(end.value.code, int)
    return end.value.code


def test_tool_makes_and_checks_shapes(tool: ModuleType, tmp_path: Path, monkeypatch, capsys) -> None:
    root = str(tmp_path / "shapes")
    assert run(tool, monkeypatch, "--make", "shapes", "--out", root, "--train", "3", "--test", "2") == 0
    make_shapes(root, 3, 2)  # the same: nothing to do
    assert run(tool, monkeypatch, "--data", root, "--format", "shapes") == 0
    out = capsys.readouterr().out
    assert "trainval: 3 images" in out
    assert "test: 2 images" in out
    assert "stack" in out
    assert run(tool, monkeypatch, "--make", "shapes", "--out", root) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_tool_checks_a_users_own_data(tool: ModuleType, folder: Path, monkeypatch, capsys) -> None:
    assert run(tool, monkeypatch, "--data", str(folder), "--classes", "nut", "bolt") == 0
    assert run(tool, monkeypatch, "--data", str(folder)) == 0
    assert "2 classes (bolt, nut)" in capsys.readouterr().out
    assert run(tool, monkeypatch, "--data", str(folder), "--classes", "bolt") == 1
    out = capsys.readouterr().out
    assert "a.xml: has an object of the unknown class 'nut'" in out
    assert "mine: 3 images, 2 faults" in out


def test_tool_draws_a_contact_sheet(tool: ModuleType, folder: Path, monkeypatch, capsys) -> None:
    sheet = folder / "sheet.png"
    assert run(tool, monkeypatch, "--data", str(folder), "--sheet", str(sheet)) == 0
    out = capsys.readouterr().out
    assert "images: 40 px wide, 30 px high" in out
    assert "some images of mine with their boxes" in out
    with PillowImage.open(sheet) as picture:
        assert picture.width > 3 * 240
    assert run(tool, monkeypatch, "--data", str(folder), "--sheet", str(folder / "sheet.xyz")) == 1
    assert "sheet.xyz" in capsys.readouterr().err
    assert run(tool, monkeypatch, "--data", str(folder), "--format", "yolo") == 1
    assert "has neither data.yaml" in capsys.readouterr().err


def test_tool_faults_are_one_line(tool: ModuleType, tmp_path: Path, monkeypatch, capsys) -> None:
    assert run(tool, monkeypatch, "--data", str(tmp_path / "nowhere")) == 1
    assert capsys.readouterr().err == f"error: {tmp_path / 'nowhere'}: there is no such folder\n"


@pytest.mark.parametrize(
    "arguments",
    [[], ["--make", "shapes"], ["--make", "squares"], ["--data", "x", "--make", "shapes"],
     ["--make", "shapes", "--out", "x", "--train", "0"], ["--data", "x", "--classes", "nut", "nut"]],
)  # fmt: skip
def test_tool_usage(tool: ModuleType, arguments: list[str], monkeypatch) -> None:
    assert run(tool, monkeypatch, *arguments) == 2


def test_real_photographs(voc_root: Path) -> None:
    (report,) = check_dataset(voc_root, "2007", ["bus_val"], VOC_CLASSES, lambda ids, _: ids[:20])
    assert not report.faults
    assert report.objects.sum() > 10
