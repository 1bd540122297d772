"""Images read from S3 and a run written to it, over HTTP, from a server of S3's protocol in this process (moto)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from reference.tiny_run import CONFIG, SETTINGS
from s3fs import S3FileSystem

from spp_det import cli
from spp_det.datasets import make_shapes
from spp_det.errors import DataError
from spp_det.places import as_path
from spp_det.tooling import run_tool

OTHER_EACH_TIME = {"run.json", "training.json", "metrics.json"}  # with seconds, and with folders


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("SPP_DET_TRUST", "reference")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "any")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        as_path("s3://bucket").mkdir()
        yield
    server.stop()


def files(folder: Path) -> dict[str, bytes]:
    """What a run's folder holds, here or there."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.suffix != ".lock"}


def test_a_run_there_has_the_bytes_of_one_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_shapes(tmp_path / "shapes", 4, 2)
    for path in tmp_path.rglob("*.*"):
        (as_path("s3://bucket") / path.relative_to(tmp_path).as_posix()).write_bytes(path.read_bytes())
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    for place in (str(tmp_path), "s3://bucket"):
        where = ["--data", f"{place}/shapes", "--out", f"{place}/run", "--store", str(tmp_path / place[:2] / "store")]
        assert cli.run(["train", "--config", str(CONFIG), *where, *settings]) == 0
        assert cli.run(["test", f"{place}/run", "--store", str(tmp_path / place[:2] / "store")]) == 0
    here, there = files(tmp_path / "run"), files(as_path("s3://bucket/run"))
    assert here.keys() == there.keys() >= {"detector.json", "svms.safetensors", "metrics.json"}
    here["config.toml"] = here["config.toml"].replace(str(tmp_path).encode(), b"s3://bucket")  # where the images are
    assert [name for name in here if here[name] != there[name] and name not in OTHER_EACH_TIME] == []
    capsys.readouterr()
    assert cli.run(["status", "s3://bucket/run"]) == 0
    assert "missing" not in capsys.readouterr().out
    picture = str(next((tmp_path / "shapes").rglob("test_*.jpg")))
    assert cli.run(["detect", "--run", "s3://bucket/run", picture, "--json"]) == 0


def test_what_is_not_there_is_named() -> None:
    for place in ("s3://bucket/none", "s3://nobucket/none"):
        with pytest.raises(DataError, match=rf"{place}: "):
            cli.run(["train", "--data", place, "--out", "s3://bucket/other"])
        with pytest.raises(DataError, match=rf"{place}: there is no such run"):
            cli.run(["status", place])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "Could not connect to the endpoint URL"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_EC2_METADATA_DISABLED": "true"}, "Unable to locate credentials"),
    ],
    ids=["no server", "no key"],
)
def test_storage_that_cannot_be_used_says_so(
    changed: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"AWS_MAX_ATTEMPTS": "1", **changed}.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()
    with pytest.raises(SystemExit, match="1"):
        run_tool(lambda _: cli.run(["status", "s3://bucket/run"]))
    S3FileSystem.clear_instance_cache()
    errors = capsys.readouterr().err
    assert errors.startswith(f"error: the storage cannot be used: {said}")
    assert errors.count("\n") == 1
