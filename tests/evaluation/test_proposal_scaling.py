"""Large images, seconds and memory: the shape of the figures, never how large they are."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from spp_det.errors import ConfigError
from spp_det.evaluation import proposal_memory, proposal_scaling
from spp_det.evaluation.proposal_scaling import enlarged, measure_scaling, mosaic, plot_scaling, scaling_table

GENERATOR = np.random.default_rng(0)
IMAGES = [
    np.kron(GENERATOR.integers(0, 256, (5, n, 3)), np.ones((60, 60, 1))).astype(np.uint8) for n in (4, 5, 6, 7, 8)
]

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")


def test_large_images() -> None:
    assert enlarged(IMAGES, 1, 3).shape == (1125, 1500, 3)
    picture = mosaic(IMAGES, 3, 2)
    assert picture.shape == (750, 1000, 3)
    for place, number in (((0, 0), 3), ((0, 500), 4), ((375, 0), 0), ((375, 500), 1)):
        np.testing.assert_array_equal(picture[place], IMAGES[number][0, 0])


def test_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposal_scaling, "peak_memory", lambda image, mode: image.shape[1] / 10)
    steps: list[tuple[int, int]] = []
    result = measure_scaling(IMAGES, factors=(1, 2), repeats=2, progress=lambda *step: steps.append(step))
    assert list(result) == ["enlarged", "mosaic"]
    assert steps[-1] == (20, 20)
    assert len(steps) == 8
    for rows in result.values():
        assert rows["pixels"] == [187_500, 750_000]
        assert min(rows["seconds"]) > 0
        assert rows["windows"][0] > 0
        assert rows["peak_mb"] == 100
    assert result["mosaic"]["windows"][1] > 2 * result["mosaic"]["windows"][0]
    assert scaling_table(result).row_count == 4
    plot_scaling(result, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


@on_linux
def test_a_larger_image_takes_more_memory() -> None:
    """The image alone is 1 MB and 27 MB."""
    small, large = (np.zeros((side, side, 3), np.uint8) for side in (600, 3000))
    assert proposal_memory.peak_memory(large) > proposal_memory.peak_memory(small) + 20


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(proposal_memory, "STATUS", tmp_path / "status")
    with pytest.raises(ConfigError, match="does not have"):
        proposal_memory.peak_memory(IMAGES[0])
