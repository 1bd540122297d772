"""The download, against a server on this machine that holds small archives in the official layout."""

from __future__ import annotations

import hashlib
import io
import socket
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image as PillowImage
from torchvision.datasets.voc import DATASET_YEAR_DICT

from spp_det.datasets import VOCDataset
from spp_det.datasets.check import check_dataset
from spp_det.datasets.download import DOWNLOADS, Archive, download_voc
from spp_det.errors import DataError

XML = (
    b"<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>8</xmax><ymax>9</ymax></bndbox>"
    b"</object></annotation>"
)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def archive(year: str, split: str, image_id: str) -> bytes:
    picture = io.BytesIO()
    PillowImage.new("RGB", (12, 10)).save(picture, "JPEG")
    files = {
        f"Annotations/{image_id}.xml": XML,
        f"JPEGImages/{image_id}.jpg": picture.getvalue(),
        f"ImageSets/Main/{split}.txt": f"{image_id}\n".encode(),
    }
    return tar({f"VOCdevkit/VOC{year}/{name}": content for name, content in files.items()})


def tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that is served; the table of archives points to it."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    first, second = archive("2007", "trainval", "000001"), archive("2007", "test", "000002")
    serve(monkeypatch, folder, server.server_port, "voc2007", first, second)
    serve(monkeypatch, folder, server.server_port, "voc2012", archive("2012", "trainval", "2008_000001"))
    yield folder
    server.shutdown()
    server.server_close()


def serve(monkeypatch: pytest.MonkeyPatch, folder: Path, port: int, name: str, *contents: bytes) -> None:
    year, archives = DOWNLOADS[name]
    entries = []
    for each, content in zip(archives, contents, strict=True):
        (folder / each.name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        entries.append(Archive(f"http://127.0.0.1:{port}/{each.name}", digest, len(content)))
    monkeypatch.setitem(DOWNLOADS, name, (year, tuple(entries)))


def port_of(name: str) -> int:
    return int(DOWNLOADS[name][1][0].url.split(":")[2].split("/")[0])


def test_official_addresses_are_known() -> None:
    archives = [archive for _, archives in DOWNLOADS.values() for archive in archives]
    assert len(archives) == 3
    for each in archives:
        assert each.url.startswith("https://")
        assert len(bytes.fromhex(each.sha256)) == 32
        assert each.url in [entry["url"] for entry in DATASET_YEAR_DICT.values()]  # torchvision's opinion


def test_voc2007_has_both_archives(served: Path, tmp_path: Path) -> None:
    folder = download_voc("voc2007", tmp_path / "data")
    assert folder == tmp_path / "data/VOCdevkit/VOC2007"
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["VOCdevkit"]
    reports = check_dataset(folder.parent, "2007", (), VOCDataset(folder).class_names, lambda ids, _: ids)
    assert [(report.split, report.total, report.faults) for report in reports] == [("trainval", 1, []), ("test", 1, [])]


def test_voc2012_beside_voc2007(served: Path, tmp_path: Path) -> None:
    download_voc("voc2007", tmp_path)
    download_voc("voc2012", tmp_path)
    assert VOCDataset(tmp_path / "VOCdevkit", "2012").ids == ("2008_000001",)
    assert VOCDataset(tmp_path / "VOCdevkit", "2007", "test").ids == ("000002",)


def test_what_is_there_is_kept(served: Path, tmp_path: Path) -> None:
    (tmp_path / "VOCdevkit/VOC2012").mkdir(parents=True)
    with pytest.raises(DataError, match="VOC2012: is there already"):
        download_voc("voc2012", tmp_path)


def test_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/VOC.tar"
    monkeypatch.setitem(DOWNLOADS, "voc2012", ("2012", (Archive(url, "0" * 64, 1),)))
    with pytest.raises(DataError) as caught:
        download_voc("voc2012", tmp_path / "data")
    text = str(caught.value)
    assert text.startswith(f"{url}: cannot be reached (")
    assert f"unpack it: tar -xf VOC.tar -C {tmp_path / 'data'}" in text
    assert "\n" not in text
    assert not list((tmp_path / "data").iterdir())


def test_second_archive_missing_then_there(served: Path, tmp_path: Path) -> None:
    """Half of VOC2007 looks like nothing; the next try takes the half and fetches the rest."""
    second = served / "VOCtest_06-Nov-2007.tar"
    content = second.read_bytes()
    second.unlink()
    with pytest.raises(DataError, match=r"VOCtest_06-Nov-2007\.tar: cannot be reached \(HTTP Error 404"):
        download_voc("voc2007", tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".voc2007.part"]
    with pytest.raises(DataError, match="there is no such folder"):
        VOCDataset(tmp_path / "data/VOCdevkit")
    second.write_bytes(content)
    (served / "VOCtrainval_06-Nov-2007.tar").write_bytes(b"not asked for again")
    download_voc("voc2007", tmp_path / "data")
    assert VOCDataset(tmp_path / "data/VOCdevkit", "2007", "test").ids == ("000002",)


def test_connection_lost_halfway(served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(_, source, output) -> None:  # type: ignore[no-untyped-def]
        content = source.read()
        output.write(content[: len(content) // 2])

    monkeypatch.setattr(QuietHandler, "copyfile", half)
    with pytest.raises(DataError, match=r"2012\.tar: (did not arrive whole|cannot be reached)"):
        download_voc("voc2012", tmp_path / "data")
    assert not (tmp_path / "data/VOCdevkit").exists()


def test_another_archive_than_the_official(served: Path, tmp_path: Path) -> None:
    (served / "VOCtrainval_11-May-2012.tar").write_bytes(archive("2012", "trainval", "2008_666666"))
    with pytest.raises(DataError, match=r"did not arrive whole, or is not the official archive .*; try again"):
        download_voc("voc2012", tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/spp_det_evil.txt", "VOCdevkit/../../evil.txt"])
def test_an_archive_cannot_reach_out_of_its_folder(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    serve(monkeypatch, served, port_of("voc2012"), "voc2012", tar({name: b"evil"}))
    with pytest.raises(DataError, match=r"VOCtrainval_11-May-2012\.tar: cannot be unpacked"):
        download_voc("voc2012", tmp_path / "data")
    assert not list(tmp_path.rglob("evil.txt"))
    assert not Path("/tmp/spp_det_evil.txt").exists()
    assert not (tmp_path / "data/VOCdevkit").exists()


def test_an_archive_that_is_none(served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, served, port_of("voc2012"), "voc2012", b"no tar")
    with pytest.raises(DataError, match="cannot be unpacked"):
        download_voc("voc2012", tmp_path / "data")
