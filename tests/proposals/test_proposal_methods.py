"""Every method of the room does what a method does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spp_det.config import load_config
from spp_det.errors import ConfigError
from spp_det.parts import make_proposals
from spp_det.proposals import PROPOSALS, ProposalMethod
from spp_det.proposals.files import save_boxes
from spp_det.structures import Proposals

IMAGE = np.kron(np.random.default_rng(0).integers(0, 256, (6, 8, 3)), np.ones((10, 10, 1))).astype(np.uint8)


def build(name: str, folder: Path) -> ProposalMethod:
    if name == "file":
        save_boxes(folder / "boxes.npz", {"one": np.array([[0, 0, 80, 60], [5, 6, 7, 8]], np.float32)})
        return PROPOSALS[name](folder / "boxes.npz")
    return PROPOSALS[name]()


@pytest.mark.parametrize("name", [name for name in PROPOSALS if name != "edge_boxes"])  # see test_edge_boxes.py
def test_a_method_proposes_windows_within_the_image(name: str, tmp_path: Path) -> None:
    method = build(name, tmp_path)
    proposals = method.propose(IMAGE, "one")
    assert isinstance(proposals, Proposals)
    assert proposals.boxes.dtype == np.float32
    assert len(proposals) > 0
    assert (proposals.boxes[:, 2:] <= [80, 60]).all()
    np.testing.assert_array_equal(method.propose(IMAGE, "one").boxes, proposals.boxes)


def test_several_methods_together(tmp_path: Path) -> None:
    alone = [build(name, tmp_path).propose(IMAGE, "one").boxes for name in ("selective_search", "file")]
    (tmp_path / "own.toml").write_text('[data]\nroot = "x"\n')
    settings = ["proposals.method=selective_search + file", f"proposals.file={tmp_path / 'boxes.npz'}"]
    joined = make_proposals(load_config(tmp_path / "own.toml", settings)).propose(IMAGE, "one")
    np.testing.assert_array_equal(joined.boxes, np.concatenate(alone))
    with pytest.raises(ConfigError, match=r"proposals.method = \"other\""):
        make_proposals(load_config(tmp_path / "own.toml", ["proposals.method=selective_search+other"]))
