from __future__ import annotations

from pathlib import Path

import pytest

from spp_det.classification.config import is_classification
from spp_det.config import Config, config_to_toml, load_config
from spp_det.errors import ConfigError

FILES = sorted((Path(__file__).parent.parent / "configs").glob("*.toml"))
CONFIGS = [path for path in FILES if not is_classification(path)]


def write(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_of_the_project_is_read(path: Path) -> None:
    assert isinstance(load_config(path), Config)


def test_there_are_the_configurations_that_the_readme_names() -> None:
    assert {path.stem for path in CONFIGS} >= {
        "shapes",
        "voc07_lite0",
        "voc07_alexnet",
        "voc07_vgg16",
        "voc07_zf5_paper",
        "voc07_zf5_released",
        "voc07_rcnn_alexnet",
        "voc07_rcnn_zf5",
    }


def test_the_vgg16_row_of_the_fast_r_cnn_paper() -> None:
    config = load_config(Path(CONFIGS[0]).with_name("voc07_fast_rcnn_sppnet_vgg16.toml"))
    assert (config.trunk.name, config.maps.scales) == ("vgg16", (480, 576, 688, 864, 1200))
    assert not config.data.use_difficult
    assert config.regress.enabled


def test_written_out_and_read_again_it_is_the_same(tmp_path: Path) -> None:
    config = load_config(CONFIGS[0], ["svm.C=0.01", "maps.scales=[480, 600]", "proposals.max_windows=50"])
    assert load_config(write(tmp_path, config_to_toml(config))) == config
    assert (config.svm.C, config.maps.scales, config.proposals.max_windows) == (0.01, (480, 600), 50)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('[data]\nroot = "x"\n[svm]\nD = 3\n', ["unknown field `D`", "$.svm"]),
        ('[data]\nroot = "x"\n[svn]\nC = 3\n', ["unknown field `svn`"]),
        ('[data]\nroot = "x"\n[svm]\nC = "much"\n', ["float", "$.svm.C"]),
        ('[data]\nroot = "x"\n[svm]\nC = -1\n', ["above 0", "$.svm.C"]),
        ('[data]\nroot = "x"\n[maps]\nmapping = "papr"\n', ["papr", "$.maps.mapping"]),
        ('[data]\nroot = "x"\n[maps]\nscales = []\n', ["$.maps.scales"]),
        ('[data]\nroot = "x"\n[maps]\nscales = [688, 480]\n', ["ascend", "$.maps.scales"]),
        ('[data]\nroot = "x"\n[detect]\nscales = [8]\n', ["16 px", "$.detect.scales"]),
        ('[data]\nroot = "x"\n[maps]\nlevels = [0]\n', ["$.maps.levels"]),
        ('[data]\nroot = "x"\n[finetune]\nnegative_overlap = [0.5, 0.1]\n', ["$.finetune.negative_overlap"]),
        ('[data]\nroot = "x"\n[finetune]\ndropout = 1.0\n', ["$.finetune.dropout"]),
        ('[data]\nroot = "x"\nmax_images = 0\n', ["$.data.max_images"]),
        ('[data]\nroot = "x"\n[proposals]\nmethod = "edge_boxes+file"\n', ["$.proposals.file"]),
        ('[data]\nroot = "x"\n[proposals]\nmethod = "file"\n', ["$.proposals.file"]),
        ("[svm]\nC = 1\n", ["missing required field `data`"]),
        ("[data\n", ["not TOML"]),
    ],
)
def test_a_fault_is_one_line_that_names_the_file_and_the_key(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert all(part in message for part in parts), message


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such configuration"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(tmp_path / "bytes.toml")
    with pytest.raises(ConfigError, match="folder"):
        load_config(tmp_path)


@pytest.mark.parametrize("override", ["svm.C", "=3", "svm.C.x=3", "svm.D=1"])
def test_an_override_that_cannot_be_taken(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError):
        load_config(write(tmp_path, '[data]\nroot = "x"\n[svm]\nC = 0.1\n'), [override])
