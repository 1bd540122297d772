import numpy as np
import pytest

from spp_det.pooling.transpose import transpose_into


@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 36, 49])
@pytest.mark.parametrize("width", [1, 7, 8, 13, 256])
def test_rows_become_columns_and_nothing_else_changes(count, width):
    source = np.random.default_rng(0).standard_normal((count + 5, width + 3)).astype(np.float32)
    target = np.full(count * width + 20, np.nan, np.float32)
    transpose_into(target, 10, source, 4, count, width)
    np.testing.assert_array_equal(target[10:-10].reshape(width, count), source[4 : 4 + count, :width].T)
    assert np.isnan(target[:10]).all()
    assert np.isnan(target[-10:]).all()
