"""exp, softplus and its derivative for numba kernels: branch-free in fp32, so that LLVM vectorises them; libm in fp64.

The fp32 forms are within 2e-7 of the exact value, relative to it, wherever that is a normal number. No reordering is
allowed in them: the rounding trick of :func:`exp` would be folded away.
"""

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

_LOG2E = np.float32(1.4426950408889634)
_LN2_HIGH = np.float32(0.693359375)  # 10 bits: its product with an exponent is exact
_LN2_LOW = np.float32(math.log(2) - 0.693359375)
_ROUND = np.float32(1.5 * 2**23)  # adding it leaves the nearest integer in the low bits of the mantissa
_EXP_SERIES = tuple(np.float32(1 / math.factorial(k)) for k in range(7, -1, -1))  # |r| <= ln(2) / 2: error 5e-9
_ATANH_SERIES = tuple(np.float32(2 / (2 * k + 1)) for k in range(7, -1, -1))  # |s| <= 1 / 3: error 2e-9


def exp(x):
    """e**x."""
    return math.exp(x)


def softplus(x):
    """log(1 + e**x)."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def logistic(x):
    """1 / (1 + e**-x), the derivative of softplus."""
    return 1.0 / (1.0 + math.exp(-x))


@intrinsic
def _bits(typingctx, x):
    return types.int32(types.float32), lambda context, builder, sig, args: builder.bitcast(args[0], ir.IntType(32))


@intrinsic
def _from_bits(typingctx, x):
    return types.float32(types.int32), lambda context, builder, sig, args: builder.bitcast(args[0], ir.FloatType())


@njit(fastmath={'contract'})
def _exp32(x):
    x = min(max(x, np.float32(-87.0)), np.float32(88.0))
    shifted = x * _LOG2E + _ROUND
    exponent = shifted - _ROUND
    r = x - exponent * _LN2_HIGH - exponent * _LN2_LOW
    a7, a6, a5, a4, a3, a2, a1, a0 = _EXP_SERIES
    series = ((((((a7 * r + a6) * r + a5) * r + a4) * r + a3) * r + a2) * r + a1) * r + a0
    return series * _from_bits((_bits(shifted) + np.int32(127)) << np.int32(23))


@njit(fastmath={'contract'})
def _softplus32(x):
    e = _exp32(-abs(x))
    s = e / (np.float32(2) + e)  # log(1 + e) = 2 atanh(e / (2 + e))
    q = s * s
    a7, a6, a5, a4, a3, a2, a1, a0 = _ATANH_SERIES
    series = ((((((a7 * q + a6) * q + a5) * q + a4) * q + a3) * q + a2) * q + a1) * q + a0
    return max(x, np.float32(0)) + s * series


@njit(fastmath={'contract'})
def _logistic32(x):
    return np.float32(1) / (np.float32(1) + _exp32(-x))


def _vectorised_in_fp32(function, in_fp32):
    in_fp64 = njit(function)

    @overload(function)
    def choose(x):
        return (lambda x: in_fp32(x)) if x == types.float32 else (lambda x: in_fp64(x))


_vectorised_in_fp32(exp, _exp32)
_vectorised_in_fp32(softplus, _softplus32)
_vectorised_in_fp32(logistic, _logistic32)
