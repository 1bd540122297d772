"""The two protocols: what each sets, what overrides it, and that every setting reaches the part that obeys it.

What a setting does is worked by hand where its part is tested; docs/protocols.md names the places.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from spp_det.config import Config, config_to_dict, config_to_toml, load_config
from spp_det.errors import ConfigError
from spp_det.networks import build_trunk
from spp_det.parts import make_head, make_regions, make_svm_settings, regressor_params
from spp_det.pipeline.learn import finetune_settings
from spp_det.pooling import choose_scales, pool_windows
from spp_det.protocols import DISAGREEMENTS, PROTOCOLS
from spp_det.regions import SPPRegions
from spp_det.training import BoxRegressor

ROOT = Path(__file__).parent.parent
SMALL = '[data]\nroot = "x"\n[finetune]\nhidden = [8, 8]\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text(text)
    return path


def found(config: Config, key: str) -> Any:
    section, last = key.split(".")
    return msgspec.to_builtins(getattr(getattr(config, section), last))


def plain(value: Any) -> Any:
    """Lists and tuples alike."""
    return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("key", DISAGREEMENTS)
def test_each_key_from_the_file_and_by_set(tmp_path: Path, name: str, key: str) -> None:
    wanted = PROTOCOLS[name][key]
    by_file = load_config(write(tmp_path, f'protocol = "{name}"\n{SMALL}'))
    by_set = load_config(write(tmp_path, SMALL), [f"protocol={name}"])
    assert plain(found(by_file, key)) == plain(found(by_set, key)) == wanted
    assert by_file == by_set


def test_the_sides_differ_but_where_the_paper_is_silent() -> None:
    assert {key for key, (paper, released) in DISAGREEMENTS.items() if paper == released} == {"finetune.flip"}


def test_what_the_file_says_overrides_its_protocol(tmp_path: Path) -> None:
    text = f'protocol = "released"\n{SMALL}[maps]\nscales = [688]\n[detect]\norder = "rcnn"\n'
    config = load_config(write(tmp_path, text))
    assert (config.maps.scales, config.detect.order) == ((688,), "rcnn")
    assert (config.maps.mapping, config.svm.near_duplicates) == ("released", "released")


def test_a_protocol_by_set_overrides_the_file_and_single_settings_override_it(tmp_path: Path) -> None:
    path = write(tmp_path, SMALL + '[maps]\nscales = [688]\nmapping = "paper"\nlevels = [1, 2]\n[svm]\nC = 0.5\n')
    config = load_config(path, ["maps.scales=[480, 600]", "protocol=released"])
    assert (config.maps.scales, config.maps.mapping) == ((480, 600), "released")
    assert (config.maps.levels, config.svm.C, config.finetune.hidden) == ((1, 2), 0.5, (8, 8))  # no protocol's


def test_without_a_protocol_nothing_is_filled_and_the_defaults_are_the_paper_s_at_one_scale(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, SMALL))
    assert config.protocol is None
    differing = {key for key, value in PROTOCOLS["paper"].items() if plain(found(config, key)) != value}
    assert differing == {"maps.scales"}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_written_out_and_read_again_it_is_the_same(tmp_path: Path, name: str) -> None:
    config = load_config(write(tmp_path, SMALL), [f"protocol={name}", "detect.order=rcnn"])
    assert load_config(write(tmp_path, config_to_toml(config))) == config
    assert config_to_dict(config)["protocol"] == name


@pytest.mark.parametrize("text", ['protocol = "papr"\n', "protocol = 3\n", 'protocol = "released"\nmaps = 3\n'])
def test_a_fault_names_the_file_and_the_key(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"own.toml.*\$\.(protocol|maps)"):
        load_config(write(tmp_path, text + SMALL))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_setting_reaches_its_part(tmp_path: Path, name: str) -> None:
    config = load_config(write(tmp_path, SMALL), [f"protocol={name}", "trunk.name=zf5", "trunk.weights=random"])
    released = name == "released"
    trunk = build_trunk("zf5", "random")
    head = make_head(config, trunk, 3)
    assert head.fc8.bias.tolist() == [float(released)] * 4
    regions = make_regions(config, trunk, head)
    assert isinstance(regions, SPPRegions)
    assert regions.scales == (480, 576, 688, 874 if released else 864, 1200)
    assert (regions.scale_rule, regions.mapping) == (name, name)
    tune = finetune_settings(config)
    assert [tune.rate(i) for i in (0, 30_000, 199_999)] == ([1e-3, 1e-4, 1e-5] if released else [1e-4] * 3)
    assert (tune.iterations, tune.bias_rate) == ((200_000, 2.0) if released else (300_000, 1.0))
    assert (tune.sampling.random_scales, tune.sampling.flip) == (released, True)
    assert make_svm_settings(config).near_duplicates == name
    regressor = BoxRegressor(**regressor_params(config))
    assert (regressor.strict, regressor.regularisation) == (released, 4000.0 if released else 1000.0)
    assert (config.detect.order, config.evaluate.overlap_test) == (name, ">" if released else ">=")
    assert config.data.use_difficult is released


def test_the_scale_of_the_same_window_under_each_protocol(tmp_path: Path) -> None:
    """A window of 102 x 102 px where the short side is 375: 688 makes it 187 px, 864 makes it 235, 874 makes it 238.

    Paper: of 224^2 = 50,176 px its 35,020 px at 688 lack 15,156, and its 55,230 at 864 are 5,054 too many: 864.
    Release: 208 * 375 / 102 is 765, which is 77 from 688 and 109 from 874: 688.
    """
    box = np.array([[0, 0, 102, 102]], np.float32)
    sides = []
    for name in PROTOCOLS:
        maps = load_config(write(tmp_path, SMALL), [f"protocol={name}"]).maps
        chosen = choose_scales(box, (375, 500), maps.scales, maps.scale_rule)
        sides.append(maps.scales[int(chosen[0])])
    assert sides == [864, 688]


@pytest.mark.parametrize(("stride", "bins"), [(6, [[0, 6], [6, 12]]), (7, [[0, 6], [7, 12]])])
def test_the_2_by_2_level_of_the_training_networks(stride: int, bins: list[list[int]]) -> None:
    """13 cells in 2 bins by windows of 7: the paper's formula gives the stride 6, the release's prototxt has 7.

    The first and last cell of each bin; pooling here is by the formula (tests/pooling/test_pool_windows.py).
    """
    cells = torch.arange(13.0)[None]
    last = torch.nn.functional.max_pool1d(cells, 7, stride, ceil_mode=True)
    first = -torch.nn.functional.max_pool1d(-cells, 7, stride, ceil_mode=True)
    assert torch.stack([first[0], last[0]], dim=1).tolist() == bins


def test_the_6_by_6_level_of_the_180_pixel_network() -> None:
    """10 cells in 6 bins: the window ceil(10 / 6) = 2 and stride floor(10 / 6) = 1 of section 2.3 make 9 of them.

    Appendix A's bins, floor(i * 10 / 6) to ceil((i + 1) * 10 / 6), are the 6 that fc6 wants.
    """
    cells = torch.arange(10.0)[None]
    assert torch.nn.functional.max_pool1d(cells, 2, 1).shape[1] == 9
    last = pool_windows(cells.reshape(1, 1, 10).numpy(), np.array([[0, 0, 9, 0]]), (6,))[0].reshape(6, 6)
    assert last.tolist() == [[1, 3, 4, 6, 8, 9]] * 6


def test_the_document_has_every_key_and_both_sides() -> None:
    text = (ROOT / "docs" / "protocols.md").read_text()
    for key in DISAGREEMENTS:
        assert f"`{key}`" in text


def test_the_released_configuration_is_the_release_s_in_everything() -> None:
    config = load_config(ROOT / "configs" / "voc07_zf5_released.toml")
    assert {key: plain(found(config, key)) for key in DISAGREEMENTS} == PROTOCOLS["released"]
    assert config.trunk.name == "zf5_released"
