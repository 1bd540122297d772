from __future__ import annotations

import numpy as np
import pytest

from spp_det.classification.view_speed import time_views, untrained, views_line, views_table
from spp_det.tooling import console


def test_both_sides_are_timed_over_the_same_views() -> None:
    ticks = iter(range(10**6))
    network = untrained("reference.classes:small_trunk", num_classes=5)
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    result = time_views(network, [image], clock=lambda: float(next(ticks)))
    assert result["maps"]["passes"] == 6
    # the mirror is convolved too: twice the pixels of the six images of 4 : 3
    expected = sum(2 * side * round(side * 4 / 3) for side in (224, 256, 300, 360, 448, 560))
    assert result["maps"]["pixels"] == expected
    full = 2 * 256 * round(256 * 4 / 3)
    assert result["crops"]["pixels"] == 96 * 224 * 224 + full
    assert result["maps"]["trunk"] == 6  # by a clock that counts how often it is asked
    assert result["speedup"] > 0
    with console.capture() as capture:
        console.print(views_table(result))
    assert "98 views on maps" in capture.get()
    assert f"{result['bound']:.1f} times as many" in views_line(result)


def test_the_papers_networks_can_be_timed() -> None:
    assert untrained("zf5_table1", num_classes=2).trunk.name == "zf5_table1"


def test_there_must_be_something_to_time() -> None:
    with pytest.raises(ValueError, match="needs an image"):
        time_views(untrained("reference.classes:small_trunk", 2), [])
