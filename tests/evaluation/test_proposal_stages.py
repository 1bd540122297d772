"""The stages of selective search: all are counted, and they add up to the whole."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from spp_det.evaluation.proposal_stages import TITLES, measure_stages, stages_table


@pytest.mark.parametrize("mode", ["fast", "released"])
def test_every_stage_is_counted(mode):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (80, 100, 3), np.uint8) for _ in range(2)]
    seen = []
    found = measure_stages(images, mode, lambda done, of: seen.append((done, of)))
    assert list(found) == list(TITLES)
    assert all(found[stage] > 0 for stage in TITLES if stage != "ranking")  # that one is a difference
    assert seen == [(0, 2), (1, 2), (2, 2)]
    text = io.StringIO()
    Console(file=text, width=100).print(stages_table(found, 2, mode))
    assert all(title in text.getvalue() for title in TITLES.values())
