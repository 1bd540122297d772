"""The GPU's kernel in Triton's interpreter, which runs on a CPU, beside the plain definition."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import numpy as np
import torch
from spp_det.pooling import vector_length
from spp_det.pooling.plain import pool_windows_plain
from spp_det.pooling.pool import pooling_plan
from spp_det.pooling.triton_kernel import pool_on_device

rng = np.random.default_rng(0)
for levels in ((1, 2, 3, 6), (5, 2)):
    for channels, dtype in ((3, torch.float32), (40, torch.bfloat16), (5, torch.float16)):
        cells = torch.from_numpy(rng.standard_normal((6, 9, channels), np.float32)).to(dtype)
        windows = torch.tensor([[0, 0, 8, 5], [3, 1, 3, 1], [2, 4, 7, 5], [8, 0, 8, 4]])
        rows = torch.from_numpy(rng.permutation(6)[:4])
        out = torch.full((6, vector_length(channels, levels)), -7.0, dtype=dtype)
        pool_on_device(cells, windows, pooling_plan(levels).tolist(), rows, out)
        expected = pool_windows_plain(cells.permute(2, 0, 1).float(), windows, levels)
        assert torch.equal(out[rows].float(), expected), (levels, channels)
        others = [row for row in range(6) if row not in rows.tolist()]
        assert (out[others] == -7).all()
print("equal")
"""


def test_equals_the_plain_definition_bit_for_bit():
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.stdout == "equal\n", done.stderr
