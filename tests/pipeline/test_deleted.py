"""What a run made is deleted under it: it says so, and after a repair the next one ends in the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from reference.tiny_run import tiny_config

from spp_det import cli
from spp_det.config import Config
from spp_det.errors import DataError
from spp_det.pipeline import train
from spp_det.pipeline.training import Run

OTHER_EACH_TIME = {"run.json", "training.json"}  # with seconds, and with folders


@pytest.fixture(scope="module", autouse=True)
def trusted() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPP_DET_TRUST", "reference")
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return tiny_config(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="module")
def undisturbed(config: Config, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    train(config, folder / "run")
    return artefacts(folder)


def artefacts(folder: Path) -> dict[str, bytes]:
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {
        str(name): path.read_bytes()
        for name, path in files.items()
        if name.suffix != ".lock" and name.name not in OTHER_EACH_TIME and not {"check", "uses"} & set(name.parts)
    }


@pytest.mark.parametrize(
    ("deleted", "said"),
    [
        ("pack-*", "0 of 4 pieces are left as they were; spp-det cache verify --repair"),  # stage.json says done still
        ("*", "all as it was written"),
    ],
    ids=["packs", "everything"],
)
def test_maps_deleted_under_fine_tuning(
    config: Config,
    undisturbed: dict[str, bytes],
    deleted: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepare = Run.prepare

    def prepare_and_delete(run: Run) -> None:
        prepare(run)
        for path in (tmp_path / "store" / "maps").glob(f"*/{deleted}"):
            path.unlink()

    monkeypatch.setattr(Run, "prepare", prepare_and_delete)
    with pytest.raises(DataError, match=r"pack-0000.bin: was deleted, with train_\d+ in it; spp-det cache verify"):
        train(config, tmp_path / "run")
    monkeypatch.undo()
    monkeypatch.setenv("SPP_DET_TRUST", "reference")
    assert cli.run(["cache", "verify", "--repair", str(tmp_path / "store")]) == int(deleted != "*")
    assert said in capsys.readouterr().out
    train(config, tmp_path / "run")
    found = artefacts(tmp_path)
    assert [name for name in {**undisturbed, **found} if undisturbed.get(name) != found.get(name)] == []
