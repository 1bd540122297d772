import numpy as np
import pytest

from spp_det.pooling.transpose import transpose_into


@pytest.mark.parametrize("count", [1, 4, 7, 8, 9, 16, 36, 49])
@pytest.mark.parametrize("width", [1, 7, 8, 13, 256])
@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_rows_become_columns_and_nothing_else_changes(count, width, dtype):
    source = (1000 * np.random.default_rng(0).standard_normal((count + 5, width + 3))).astype(dtype)
    target = np.full(count * width + 20, -7777, dtype)
    transpose_into(target, 10, source, 4, count, width)
    np.testing.assert_array_equal(target[10:-10].reshape(width, count), source[4 : 4 + count, :width].T)
    assert (target[:10] == -7777).all()
    assert (target[-10:] == -7777).all()
