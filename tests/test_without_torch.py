"""The path of detect is imported, and pools and suppresses, where there is no torch."""

from __future__ import annotations

from reference.without_torch import run_without_torch

CODE = """
import numpy as np
import spp_det
from spp_det.detection import nms
from spp_det.detection.first_look import FirstLook
from spp_det.pooling import pool_windows
from spp_det.proposals import selective_search
from spp_det.regions import RCNNRegions, SPPRegions
from spp_det.trunk_facts import Preprocessing, TrunkFacts

vectors = pool_windows(np.arange(12, dtype=np.float32).reshape(1, 3, 4), np.array([[1, 0, 3, 2]]), (1, 2))
assert vectors.tolist() == [[11, 6, 7, 10, 11]], vectors
look = FirstLook()
look.hidden_coef_, look.hidden_intercept_ = np.ones((3, 5), np.float32), np.float32([0, 1, -50])
look.coef_, look.intercept_ = np.ones((2, 3), np.float32), np.zeros(2, np.float32)
assert look.scores(vectors).tolist() == [91]
assert Preprocessing((0, 0, 0), (1, 1, 1)).array(np.full((2, 2, 3), 255, np.uint8)).max() == 1
assert not [name for name in sys.modules if name.partition(".")[0] == "torch"]
"""


def test_pooling_and_regions() -> None:
    done = run_without_torch(CODE)
    assert done.returncode == 0, done.stderr
    assert "No module named 'torch'" in run_without_torch("import spp_det.networks").stderr
