"""Models against golden outputs of the authors' code (tests/data/conformance, made by the authors' own sources)."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from mmmamba.checkpoints import conformance
from mmmamba.checkpoints.conformance import judge, read_cases
from mmmamba.checkpoints.families import FAMILIES
from mmmamba.checkpoints.files import CheckpointError
from mmmamba.scans.scan import NAMED_SCANS

CASES = {case.name: case for case in read_cases(Path(__file__).parents[1] / 'data' / 'conformance')}
# Of this golden, in fp32, rounding alone makes 5.2e-6 of the bound of 5e-6: within it is who rounds as its CPU did.
ROUNDED = 'plain_mamba/custom_small'
LARGE = {
    'efficient_vmamba/tiny',
    'medmamba/tiny',
    'msvmamba/nano',
    'vmamba/base_s2l15',
    'vmamba/small_s2l15',
    'vmamba/vanilla_tiny',
}


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in sorted(CASES)]
)
def test_model_conforms_to_the_authors_code(name):
    verdicts = list(judge(CASES[name]))
    assert len(verdicts) == len(CASES[name].sizes)
    failed = [verdict for verdict in verdicts if not verdict.passed]
    if name == ROUNDED and torch.backends.cpu.get_cpu_capability() != 'AVX512':
        checks = [check for verdict in failed for check in verdict.checks if not check.passed]
        if len(checks) == 1 and checks[0].what == 'outputs fp32' and checks[0].error < 1e-5:
            pytest.xfail(
                f'{failed[0]}: the golden itself is 5.2e-6 from the exact result, and this CPU rounds otherwise'
            )
    assert not failed, '\n'.join(map(str, failed))


@pytest.mark.parametrize('backend', ['torch', 'reference'])
def test_every_backend_conforms(backend):
    for verdict in judge(CASES['vmamba/custom_small_v0'], backend=backend):
        assert verdict.passed, str(verdict)


def test_strong_gradients_are_compared_in_both_dtypes():
    (verdict,) = judge(CASES['vmamba/custom_small'])
    compared = {check.what for check in verdict.checks}
    assert {'gradients fp32', 'gradients fp64', 'gradients strong', 'gradients strong fp64'} <= compared


def test_gradients_without_names_are_those_of_all_parameters():
    case = CASES['vim/custom_small']
    info = {key: value for key, value in case.info.items() if key != 'grad_param_names'}
    (verdict,) = judge(dataclasses.replace(case, info=info))
    assert verdict.passed
    assert 'gradients fp32' in {check.what for check in verdict.checks}


def test_a_repaired_model_is_built_for_the_figures_recorded_on_one():
    verdict = list(judge(CASES['local_vmamba/custom_small']))[1]
    assert {'outputs fp32', 'outputs true inverse', 'outputs true inverse fp64'} <= {c.what for c in verdict.checks}
    family = next(family for family in FAMILIES if family.name == 'local_vmamba')
    changed = dataclasses.replace(family, variants={'_true_inverse': lambda config: config})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conformance, 'FAMILIES', (changed,))
        verdict = list(judge(CASES['local_vmamba/custom_small']))[1]
    assert [c.what for c in verdict.checks if not c.passed] == ['outputs true inverse', 'outputs true inverse fp64']


def test_a_wrong_output_fails():
    case = CASES['vmamba/custom_small']
    figures = {name: np.array(value) for name, value in case.figures.items()}
    figures['64x48_fp64/logits'][0, 0] += 1e-6
    (verdict,) = judge(dataclasses.replace(case, figures=figures))
    assert not verdict.passed
    assert str(verdict).startswith('FAIL')


def test_a_wrong_parameter_count_fails():
    case = CASES['vmamba/custom_small']
    (verdict,) = judge(dataclasses.replace(case, info={**case.info, 'parameters': 1}))
    assert not verdict.passed
    assert 'published: 1' in str(verdict)


def test_a_wrong_scan_order_fails(monkeypatch):
    monkeypatch.setitem(
        NAMED_SCANS, 'cross', ('raster', 'raster.reverse', 'raster.transpose', 'raster.transpose.reverse')
    )
    (verdict,) = judge(CASES['vmamba/custom_small'])
    assert not verdict.passed


def test_an_unknown_family_is_named():
    case = CASES['vmamba/custom_small']
    with pytest.raises(CheckpointError, match='no key map for this family'):
        list(judge(dataclasses.replace(case, info={**case.info, 'family': 'perceiver'})))


def test_a_folder_without_cases_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='no conformance case'):
        list(read_cases(tmp_path))
