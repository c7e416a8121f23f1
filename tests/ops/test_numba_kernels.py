"""The vectorised functions of the numba kernels, against the exact ones."""

import numpy as np
import pytest
from numba import njit

from mmmamba.ops.selective_scan import numba_kernels


@njit
def _evaluate(function, x):
    out = np.empty_like(x)
    for i in range(x.size):
        out[i] = function(x[i])
    return out


POINTS = np.concatenate([np.linspace(-87.3, 88.3, 400_001), np.linspace(-1, 1, 100_001)]).astype(np.float32)
EXACT = {  # with the largest relative error that the kernels' file states
    '_exp32': (np.exp, 2e-7),
    '_softplus32': (lambda x: np.logaddexp(x, 0), 2.5e-7),
    '_logistic32': (lambda x: 1 / (1 + np.exp(-x)), 2e-7),
}


@pytest.mark.parametrize('name', EXACT)
def test_fp32_function_is_as_near_to_the_exact_one_as_stated(name):
    function, bound = EXACT[name]
    found = _evaluate(getattr(numba_kernels, name), POINTS)
    exact = function(POINTS.astype(np.float64))
    assert found.dtype == np.float32
    assert (np.abs(found - exact) / exact).max() < bound


def test_fp32_functions_end_in_zero_infinity_and_nan():
    ends = np.array([-1e30, -np.inf, -200, 200, np.inf, np.nan], np.float32)
    with np.errstate(over='ignore'):
        assert np.array_equal(_evaluate(numba_kernels._exp32, ends), [0, 0, 0, np.inf, np.inf, np.nan], equal_nan=True)
        assert np.array_equal(
            _evaluate(numba_kernels._softplus32, ends), [0, 0, 0, 200, np.inf, np.nan], equal_nan=True
        )
        assert np.array_equal(_evaluate(numba_kernels._logistic32, ends), [0, 0, 0, 1, 1, np.nan], equal_nan=True)
