"""python -m mmmamba.doctor: a sound environment passes, and each problem is named with its remedy."""

import os
import subprocess
import sys
import types
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from mmmamba import compat, doctor
from mmmamba.ops import backend

ROOT = Path(__file__).parents[1]
Disk = namedtuple('Disk', 'total')


def statuses(check) -> dict[str, str]:
    return {finding.about: finding.status for finding in check()}


def only(findings, status: str) -> doctor.Finding:
    (found,) = [finding for finding in findings if finding.status == status]
    return found


@pytest.mark.slow
def test_this_environment_is_sound():
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_WAIT_POLICY': 'PASSIVE'}
    done = subprocess.run([sys.executable, '-m', 'mmmamba.doctor'], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout
    assert '0 broken' in done.stdout
    for about in ('python', 'torch', 'scans on cpu', 'mmdet', 'mmcv ops', 'configs'):
        assert f'ok  {about}: ' in done.stdout


def test_a_broken_part_sets_the_exit_code(monkeypatch, capsys):
    broken = doctor.Finding(doctor.BROKEN, 'x', 'gone', 'install x')
    monkeypatch.setattr(doctor, 'CHECKS', (doctor.check_python, lambda: iter([broken])))
    assert doctor.main() == 1
    assert 'BROKEN  x: gone\n         -> install x\n1 broken, 0 warnings' in capsys.readouterr().out


def test_a_warning_alone_does_not(monkeypatch):
    monkeypatch.setattr(doctor, 'CHECKS', (lambda: iter([doctor.Finding(doctor.WARNING, 'x', 'old')]),))
    assert doctor.main() == 0


def test_scans_are_tried_against_the_reference():
    assert statuses(doctor.check_backends)['scans on cpu'] == doctor.OK


def test_a_wrong_kernel_is_found(monkeypatch):
    monkeypatch.setattr(
        'mmmamba.ops.selective_scan', lambda u, *rest, backend='auto', **options: u + (backend == 'auto')
    )
    assert 'differs from the reference' in only(doctor.check_backends(), doctor.BROKEN).text


def test_a_failing_kernel_is_reported(monkeypatch):
    def fail(*tensors, **options):
        raise RuntimeError('no device code\nand a long trace')

    monkeypatch.setattr('mmmamba.ops.selective_scan', fail)
    found = only(doctor.check_backends(), doctor.BROKEN)
    assert found.text == 'RuntimeError: no device code'
    assert 'MMMAMBA_BACKEND=torch' in found.remedy


def test_a_misspelt_backend_is_reported(monkeypatch):
    monkeypatch.setattr(backend, '_preferred', 'trition')
    assert "'trition'" in only(doctor.check_backends(), doctor.BROKEN).text


def test_missing_numba_is_a_warning(monkeypatch):
    monkeypatch.setattr(backend, 'HAS_NUMBA', False)
    found = only(doctor.check_backends(), doctor.WARNING)
    assert (found.about, found.remedy) == ('numba', 'pip install "numba>=0.60"')


def test_missing_triton_is_a_warning_where_there_is_a_gpu(monkeypatch):
    monkeypatch.setattr(backend, 'HAS_TRITON', False)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(doctor, '_try_scan', lambda *_: doctor.Finding(doctor.OK, 'scan', 'not tried'))
    assert only(doctor.check_backends(), doctor.WARNING).about == 'triton'


def test_triton_needs_a_compiler_and_headers(monkeypatch, tmp_path):
    monkeypatch.delenv('CC', raising=False)
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setattr(doctor.sysconfig, 'get_paths', lambda: {'include': str(tmp_path)})
    assert [finding.text for finding in doctor._check_compiler()] == [
        'finds no C compiler',
        f'finds no {tmp_path / "Python.h"}',
    ]


def test_a_torchvision_of_another_torch_is_reported(monkeypatch):
    def nms(*arguments):
        raise RuntimeError('operator torchvision::nms does not exist')

    monkeypatch.setattr('torchvision.ops.nms', nms)
    found = only(doctor.check_torch(), doctor.BROKEN)
    assert 'torchvision::nms does not exist' in found.text
    assert f'torchvision==0.{int(torch.__version__.split(".")[1]) + 15}.*' in found.remedy


@pytest.mark.parametrize(('version', 'torchvision'), [('2.4.0', '0.19'), ('2.14.1+cu130', '0.29')])
def test_torch_and_torchvision_go_in_pairs(version, torchvision):
    assert f'torchvision=={torchvision}.*' in doctor.matching_torchvision(version)


def test_a_gpu_that_torch_cannot_use_is_a_warning(monkeypatch, tmp_path):
    (tmp_path / 'nvidia-smi').write_text('#!/bin/sh\n')
    (tmp_path / 'nvidia-smi').chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert statuses(doctor.check_gpu) == {'gpu': doctor.WARNING}


@pytest.mark.parametrize(('message', 'remedy'), [
    ('libGL.so.1: cannot open shared object file', 'opencv-python-headless'),
    ('_ext.so: undefined symbol: _ZN3c10', 'sed -i s/c++17/c++20/'),
    ("No module named 'mmdet'", f'"onedl-mmdetection{compat.TESTED["onedl-mmdetection"]}"'),
])  # fmt: skip
def test_a_library_that_does_not_import_has_a_remedy(message, remedy, monkeypatch):
    def import_module(name):
        if name == 'mmdet':
            raise ImportError(message)
        return types.SimpleNamespace(__version__='1')

    monkeypatch.setattr(doctor.importlib, 'import_module', import_module)
    found = only(doctor.check_libraries(), doctor.BROKEN)
    assert found.about == 'mmdet'
    assert message in found.text
    assert remedy in found.remedy


def test_transformers_5_is_a_warning(monkeypatch):
    monkeypatch.setattr(doctor, '_version', lambda name: '5.1.0' if name == 'transformers' else '1')
    assert only(doctor.check_libraries(), doctor.WARNING).about == 'transformers'


def test_an_untested_version_is_a_warning(monkeypatch):
    monkeypatch.setattr(compat, 'stack_problems', lambda: ['torch 9.0 is outside the tested <3; pip install "torch<3"'])
    found = only(doctor.check_versions(), doctor.WARNING)
    assert (found.text, found.remedy) == ('torch 9.0 is outside the tested <3', 'pip install "torch<3"')


def test_mmcv_ops_are_served():
    assert statuses(doctor.check_mmcv_ops) == {'mmcv ops': doctor.OK}


@pytest.mark.parametrize(('policy', 'status'), [('PASSIVE', doctor.OK), ('ACTIVE', doctor.WARNING)])
def test_spinning_threads_are_a_warning(policy, status, monkeypatch):
    monkeypatch.setenv('OMP_WAIT_POLICY', policy)
    assert statuses(doctor.check_environment)['OMP_WAIT_POLICY'] == status


def test_little_shared_memory_is_a_warning(monkeypatch):
    monkeypatch.setattr(doctor.shutil, 'disk_usage', lambda path: Disk(64 << 20))
    assert statuses(doctor.check_environment)['/dev/shm'] == doctor.WARNING


def test_a_cache_that_cannot_be_written_is_broken(monkeypatch, tmp_path):
    (tmp_path / 'file').touch()
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path / 'file' / 'cache'))
    finding = doctor.check_folder('triton cache', doctor.cache_folders()['triton cache'])
    assert finding.status == doctor.BROKEN
    assert finding.remedy == 'set TRITON_CACHE_DIR to a folder that can be'


def test_a_cache_that_is_not_there_yet_is_fine(tmp_path):
    assert doctor.check_folder('numba cache', tmp_path / 'deep' / 'cache').status == doctor.OK
    assert not (tmp_path / 'deep').exists()


def test_configs_are_found():
    assert statuses(doctor.check_configs) == {'configs': doctor.OK}
