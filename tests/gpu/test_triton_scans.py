"""Both scans on Triton on CUDA, at the sizes models have, against the PyTorch path in fp64."""

import pytest
import torch
from scan_cases import gradient_of_output, map_inputs, scan_inputs, values_and_gradients
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmmamba.ops import selective_scan, selective_scan_2d
from mmmamba.ops.selective_scan_2d import interface

pytest.importorskip('triton')

from mmmamba.ops.selective_scan_2d import triton_op

# fp32: error over that of the PyTorch path in fp32. Half precision: error over that of rounding the fp64 value. Sums
# over channels (of low-rank step sizes, B and C) round their addends and, block by block, their parts as well.
FACTOR = 3
FACTOR_OF_OUTPUT = 2


def rms_error(found: Tensor, expected: Tensor) -> float:
    return ((found.double() - expected).norm() / expected.norm().clamp(min=1e-300)).item()


def judge(found: dict, plain: dict | None, expected: dict, dtype: torch.dtype) -> None:
    far = {}
    for name, value in expected.items():
        assert found[name].isfinite().all(), name
        if found[name].dtype == torch.float32:
            allowed = max(rms_error(plain[name], value), 1e-7) if plain else 2**-9
        else:
            allowed = rms_error(value.to(dtype), value)
        allowed *= FACTOR_OF_OUTPUT if name == 'output' else FACTOR
        error = rms_error(found[name], value)
        if not error <= allowed:
            far[name] = (error, allowed)
    assert not far, f'error, allowed: {far}'


def check_2d(dtype: torch.dtype, **sizes) -> None:
    """The operator on the inputs that the projection gives, which is rounded to ``dtype`` for every backend alike."""
    inputs = {name: t.cuda() for name, t in map_inputs(0, **sizes).items()}
    x = inputs['x'].flatten(1, 2)
    projected = torch.einsum('ble,kre->blkr', x, inputs['x_proj_weight'])
    tensors = dict(x=x.to(dtype), projected=projected.to(dtype))
    tensors |= {name: inputs[name] for name in ('dt_proj_weight', 'dt_proj_bias', 'A', 'D')}
    routes = inputs['routes']

    def triton(x, projected, **parameters):
        return triton_op.scan(x, projected, routes, *parameters.values(), True)

    def plain(x, projected, **parameters):
        return interface._selective_scan_2d_op(x, projected, routes, *parameters.values(), True, 'torch')

    dy = gradient_of_output(x.cpu()).cuda().to(dtype)
    found = values_and_gradients(triton, tensors, dy)
    fp32 = values_and_gradients(plain, tensors, dy) if dtype == torch.float32 else None
    expected = values_and_gradients(plain, {name: t.double() for name, t in tensors.items()}, dy)
    judge(found, fp32, expected, dtype)


STAGES = {
    'stage 1': dict(size=(56, 56), channels=96, dt_rank=6),
    'stage 2': dict(size=(28, 28), channels=192, dt_rank=12),
    'stage 3': dict(size=(14, 14), channels=384, dt_rank=24),
    'stage 4': dict(size=(7, 7), channels=768, dt_rank=48),
}


@pytest.mark.parametrize('stage', STAGES.values(), ids=STAGES)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float32], ids=str)
def test_2d_matches_at_the_sizes_of_vmamba(stage, dtype):
    check_2d(dtype, batch=2, routes=4, d_state=1, **stage)


@pytest.mark.parametrize(
    ('dtype', 'sizes'),
    [
        (torch.float16, dict(size=(13, 29), channels=40, dt_rank=3, d_state=1)),
        (torch.float32, dict(size=(13, 29), channels=33, dt_rank=5, d_state=3, steps=100)),
        (torch.bfloat16, dict(size=(13, 29), channels=96, dt_rank=6, d_state=16, batch=1)),
        (torch.float32, dict(size=(5, 7), channels=24, dt_rank=2, d_state=33, routes=1)),
        (torch.float32, dict(size=(200, 350), channels=32, dt_rank=2, d_state=1, batch=1, routes=2)),
        (torch.float32, dict(size=(17, 19), channels=64, dt_rank=4, d_state=1, batch=130, routes=5)),
    ],
    ids=['fp16', 'odd sizes', 'd_state 16', 'd_state 33', '70,000 steps', 'several images a program'],
)
def test_2d_matches_at_other_sizes(dtype, sizes):
    check_2d(dtype, **sizes)


@pytest.mark.parametrize('bias', [-80.0, 80.0], ids=['no step', 'huge steps'])
def test_2d_with_extreme_step_sizes_is_finite(bias):
    inputs = {name: t.cuda() for name, t in map_inputs(1, size=(12, 12), channels=64, d_state=1).items()}
    inputs['dt_proj_bias'].fill_(bias)
    dy = gradient_of_output(inputs['x'].cpu()).cuda()
    found = values_and_gradients(selective_scan_2d, inputs, dy)
    assert all(value.isfinite().all() for value in found.values())


@pytest.mark.parametrize(
    'options',
    [
        dict(length=197, channels=384, d_state=16, groups=1),
        dict(length=501, channels=48, d_state=5, groups=2),
        dict(length=70_000, channels=8, d_state=2, batch=1),
    ],
    ids=['Vim', 'odd sizes', '70,000 steps'],
)
@pytest.mark.parametrize('reverse', [False, True])
def test_1d_matches(options, reverse):
    inputs = {name: t.cuda() for name, t in scan_inputs(2, **options).items()}
    dy = gradient_of_output(inputs['u'].cpu()).cuda()

    def scan(backend):
        return lambda **x: selective_scan(**x, delta_softplus=True, reverse=reverse, backend=backend)

    expected = values_and_gradients(scan('torch'), {name: t.double() for name, t in inputs.items()}, dy)
    judge(
        values_and_gradients(scan('triton'), inputs, dy),
        values_and_gradients(scan('torch'), inputs, dy),
        expected,
        torch.float32,
    )


@pytest.fixture
def small():
    inputs = map_inputs(3, batch=4, size=(9, 9), channels=64, routes=4, d_state=1)
    return {name: t.cuda() for name, t in inputs.items()}


def test_auto_is_triton(small):
    y = selective_scan_2d(**small)
    assert torch.equal(y, selective_scan_2d(**small, backend='triton'))
    assert not torch.equal(y, selective_scan_2d(**small, backend='torch'))


def test_two_runs_agree_to_the_last_bit(small):
    dy = gradient_of_output(small['x'].cpu()).cuda()
    first, second = (values_and_gradients(selective_scan_2d, small, dy) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_compiles_into_one_graph(small):
    dy = gradient_of_output(small['x'].cpu()).cuda()
    compiled = torch.compile(selective_scan_2d, fullgraph=True)
    expected = values_and_gradients(selective_scan_2d, small, dy)
    judge(values_and_gradients(compiled, small, dy), expected, {k: v.double() for k, v in expected.items()}, dy.dtype)
    with torch.no_grad():
        assert rms_error(compiled(**small), expected['output'].double()) < 1e-6


def test_runs_under_autocast_and_checkpointing(small):
    def loss(x):
        with torch.autocast('cuda', torch.bfloat16):
            return selective_scan_2d(**(small | dict(x=x))).float().square().mean()

    x, again = (small['x'].clone().requires_grad_() for _ in range(2))
    loss(x).backward()
    checkpoint(loss, again, use_reentrant=False).backward()
    assert torch.equal(x.grad, again.grad)


def test_replays_in_a_cuda_graph(small):
    expected = selective_scan_2d(**small)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = selective_scan_2d(**small)
    y.zero_()
    graph.replay()
    assert torch.equal(y, expected)
