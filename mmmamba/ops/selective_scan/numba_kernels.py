"""The kernels that numba compiles, with the mathematics that they inline.

Layout: ``u (b, L, 1 or G, E)``, ``delta (b, L, G, E)``, ``B, C (b, L, G, N)``, ``A (G, N, E)``, ``D, bias (G, E)``,
``routes (G, T)``. All fp32 or all fp64, contiguous. A unit of work is one block of channels of one group and image.

Numba's disk cache looks at the file of a kernel and nothing else: whatever a kernel calls stands in this file.
"""

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

# 4 AVX2 or 2 AVX-512 vectors of fp32 a state row; 16 x 64 states stay in L1. Chosen on 2 cores of a Xeon, 2026-11-24.
CHANNEL_BLOCK = 128
# Steps recomputed at a time in the backward pass.
CHUNK = 64
# A route that jumps over the map defeats the hardware's prefetching: rows are asked for this many steps before their
# turn. On 1 core of a Xeon (Emerald Rapids), 2 x 4 x 96 channels, 56 x 56, d_state 1, the forward pass along columns
# takes 7.2 ms instead of 13.3, along rows 7.5 instead of 8.0.
AHEAD = 4

# Sums may be reordered so that they vectorise; NaN and Inf keep their meaning.
_JIT = {'nogil': True, 'cache': True, 'fastmath': {'reassoc', 'contract', 'nsz'}, 'error_model': 'numpy'}

# exp, softplus and its derivative: branch-free in fp32, so that LLVM vectorises them; libm in fp64. The fp32 forms are
# within 2e-7 of the exact value (softplus 2.5e-7), relative to it; exp is 0 below -87.7 and infinite above 88.3. No
# reordering is allowed in them: the rounding trick of `_exp32` would be folded away.

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
    x = min(max(x, np.float32(-88.0)), np.float32(89.0))  # they get the exponent bits of 0 and of infinity
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


@intrinsic
def _prefetch(typingctx, row, c):
    """Ask for the cache line that holds ``row[c]``."""

    def emit(context, builder, signature, arguments):
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        data = context.make_array(row)(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), pointer)
        types_of_arguments = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        prefetch = builder.module.declare_intrinsic('llvm.prefetch', [pointer], types_of_arguments)
        builder.call(prefetch, [address, number(0), number(3), number(1)])  # to read, keep in all levels, data
        return context.get_dummy_value()

    return types.void(row, types.intp), emit


@njit(**_JIT)
def _prefetch_row(row):
    for c in range(0, row.size, 64 // row.itemsize):
        _prefetch(row, c)


# Row operations. Each writes one row of channels and reads few others: LLVM then checks at run time that rows do not
# overlap, and vectorises. Scratch rows are a full block wide; the row that bounds the loop is a slice of a tensor or,
# where all rows are scratch, a full block whose idle lanes stay finite.


@njit(**_JIT)
def _step_sizes(delta, shift, with_softplus, dt):
    if with_softplus:
        for c in range(delta.size):
            dt[c] = softplus(delta[c] + shift[c])
    else:
        for c in range(delta.size):
            dt[c] = delta[c] + shift[c]


@njit(**_JIT)
def _through_softplus(delta, shift, grad):
    for c in range(delta.size):
        grad[c] *= logistic(delta[c] + shift[c])


@njit(**_JIT)
def _advance(dt, A, drive, B, state):
    for c in range(A.size):
        state[c] = exp(dt[c] * A[c]) * state[c] + drive[c] * B


@njit(**_JIT)
def _decay(dt, A, decay):
    for c in range(A.size):
        decay[c] = exp(dt[c] * A[c])


@njit(**_JIT)
def _next_state(decay, state, drive, B, after):
    for c in range(decay.size):
        after[c] = decay[c] * state[c] + drive[c] * B


@njit(**_JIT)
def _scale(factor, row):
    for c in range(factor.size):
        row[c] *= factor[c]


@njit(**_JIT)
def _multiply(a, b, out):
    for c in range(a.size):
        out[c] = a[c] * b[c]


@njit(**_JIT)
def _add_product(a, b, total):
    for c in range(total.size):
        total[c] += a[c] * b[c]


@njit(**_JIT)
def _add_scaled(factor, row, total):
    for c in range(row.size):
        total[c] += factor * row[c]


@njit(**_JIT)
def _dot(a, b):
    total = a[0] * b[0]
    for c in range(1, a.size):
        total += a[c] * b[c]
    return total


@njit(**_JIT)
def _dot3(a, b, c):
    total = a[0] * b[0] * c[0]
    for k in range(1, a.size):
        total += a[k] * b[k] * c[k]
    return total


@njit(**_JIT)
def forward_units(start, stop, u, delta, A, B, C, D, bias, routes, with_softplus, y):
    groups, channels, d_state = delta.shape[2], delta.shape[3], A.shape[1]
    blocks = -(-channels // CHANNEL_BLOCK)
    state = np.zeros((d_state, CHANNEL_BLOCK), u.dtype)
    dt = np.zeros(CHANNEL_BLOCK, u.dtype)
    drive = np.zeros(CHANNEL_BLOCK, u.dtype)
    for unit in range(start, stop):
        i, g = unit // (groups * blocks), unit // blocks % groups
        first = unit % blocks * CHANNEL_BLOCK
        last = min(first + CHANNEL_BLOCK, channels)
        size = last - first
        gu = g if u.shape[2] > 1 else 0
        state[:] = 0
        for t in range(routes.shape[1]):
            p, ahead = routes[g, t], routes[g, min(t + AHEAD, routes.shape[1] - 1)]
            _prefetch_row(delta[i, ahead, g, first:last])
            _prefetch_row(u[i, ahead, gu, first:last])
            _prefetch_row(y[i, ahead, g, first:last])
            x, out = u[i, p, gu, first:last], y[i, p, g, first:last]
            _step_sizes(delta[i, p, g, first:last], bias[g, first:last], with_softplus, dt)
            _multiply(x, dt, drive)
            _multiply(x, D[g, first:last], out)
            for n in range(d_state):
                _advance(dt, A[g, n, first:last], drive, B[i, p, g, n], state[n])
                _add_scaled(C[i, p, g, n], state[n, :size], out)


@njit(**_JIT)
def backward_units(
    start, stop, dy, u, delta, A, B, C, D, bias, routes, with_softplus, du, ddelta, dA, dB, dC, dD, dbias
):
    groups, channels, d_state = delta.shape[2], delta.shape[3], A.shape[1]
    steps = routes.shape[1]
    blocks, chunks = -(-channels // CHANNEL_BLOCK), -(-steps // CHUNK)
    starts = np.zeros((chunks, d_state, CHANNEL_BLOCK), u.dtype)  # state before each chunk
    states = np.zeros((CHUNK + 1, d_state, CHANNEL_BLOCK), u.dtype)  # before the first step of a chunk, then after each
    decays = np.zeros((CHUNK, d_state, CHANNEL_BLOCK), u.dtype)
    dt = np.zeros((CHUNK, CHANNEL_BLOCK), u.dtype)
    drive = np.zeros((CHUNK, CHANNEL_BLOCK), u.dtype)
    dstate = np.zeros((d_state, CHANNEL_BLOCK), u.dtype)
    kept = np.zeros(CHANNEL_BLOCK, u.dtype)  # gradient of log(decay)
    ddrive = np.zeros(CHANNEL_BLOCK, u.dtype)
    for unit in range(start, stop):
        i, g, block = unit // (groups * blocks), unit // blocks % groups, unit % blocks
        first = block * CHANNEL_BLOCK
        last = min(first + CHANNEL_BLOCK, channels)
        gu, gy = (g if u.shape[2] > 1 else 0), (g if dy.shape[2] > 1 else 0)
        shift, skip = bias[g, first:last], D[g, first:last]
        dA_unit, dD_unit, dbias_unit = dA[i, g, :, first:last], dD[i, g, first:last], dbias[i, g, first:last]
        dA_unit[:], dD_unit[:], dbias_unit[:] = 0, 0, 0

        states[0] = 0
        for chunk in range(chunks):
            starts[chunk] = states[0]
            for t in range(chunk * CHUNK, min((chunk + 1) * CHUNK, steps)):
                p, ahead = routes[g, t], routes[g, min(t + AHEAD, steps - 1)]
                _prefetch_row(delta[i, ahead, g, first:last])
                _prefetch_row(u[i, ahead, gu, first:last])
                _step_sizes(delta[i, p, g, first:last], shift, with_softplus, dt[0])
                _multiply(u[i, p, gu, first:last], dt[0], drive[0])
                for n in range(d_state):
                    _advance(dt[0], A[g, n, first:last], drive[0], B[i, p, g, n], states[0, n])

        dstate[:] = 0
        for chunk in range(chunks - 1, -1, -1):
            size = min(CHUNK, steps - chunk * CHUNK)
            states[0] = starts[chunk]
            for s in range(size):
                p = routes[g, chunk * CHUNK + s]
                _prefetch_row(dy[i, p, gy, first:last])  # for the way back over this chunk
                _prefetch_row(du[i, p, g, first:last])
                _prefetch_row(ddelta[i, p, g, first:last])
                _step_sizes(delta[i, p, g, first:last], shift, with_softplus, dt[s])
                _multiply(u[i, p, gu, first:last], dt[s], drive[s])
                for n in range(d_state):
                    _decay(dt[s], A[g, n, first:last], decays[s, n])
                    _next_state(decays[s, n], states[s, n], drive[s], B[i, p, g, n], states[s + 1, n])
            for s in range(size - 1, -1, -1):
                p = routes[g, chunk * CHUNK + s]
                grad, x = dy[i, p, gy, first:last], u[i, p, gu, first:last]
                dx, dstep = du[i, p, g, first:last], ddelta[i, p, g, first:last]
                ddrive[:] = 0
                dstep[:] = 0
                for n in range(d_state):
                    _add_scaled(C[i, p, g, n], grad, dstate[n])
                    dC[block, i, p, g, n] = _dot(grad, states[s + 1, n])
                    dB[block, i, p, g, n] = _dot3(x, dstate[n], dt[s])
                    _add_scaled(B[i, p, g, n], dstate[n], ddrive)
                    _scale(decays[s, n], dstate[n])  # from here on the gradient of the state before this step
                    _multiply(dstate[n], states[s, n], kept)
                    _add_product(kept, A[g, n, first:last], dstep)
                    _add_product(kept, dt[s], dA_unit[n])
                _add_product(ddrive, x, dstep)
                if with_softplus:
                    _through_softplus(delta[i, p, g, first:last], shift, dstep)
                _multiply(grad, skip, dx)
                _add_product(ddrive, dt[s], dx)
                _add_product(grad, x, dD_unit)
                _add_scaled(1, dstep, dbias_unit)
