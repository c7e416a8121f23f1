"""The scripts for several machines, against stand-ins that print how they were called."""

import os
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture
def call(tmp_path):
    """``call(script, *arguments, **environment)``: the command line that the script ends in."""
    for name in ('python', 'srun'):
        stand_in = tmp_path / name
        stand_in.write_text('#!/bin/sh\necho "$0 $@"\n')
        stand_in.chmod(0o755)

    def run(script: str, *arguments: str, **environment: str) -> str:
        environment = {'PATH': f'{tmp_path}:{os.environ["PATH"]}', **environment}
        command = [TOOLS / script, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    return run


def test_one_machine_needs_no_variables(call):
    line = call('dist_train.sh', 'c.py', '8', '--amp')
    assert '--nnodes=1 --node_rank=0 --nproc_per_node=8 --master_addr=127.0.0.1 --master_port=29500' in line
    assert line.rstrip().endswith('tools/train.py c.py --launcher pytorch --amp')


@pytest.mark.parametrize('arguments', [('dist_train.sh', 'c.py', '4'), ('dist_test.sh', 'c.py', 'w.pth', '4')], ids=str)
def test_variables_name_the_machines(call, arguments):
    line = call(*arguments, NNODES='2', NODE_RANK='1', MASTER_ADDR='10.0.0.1', PORT='29501')
    assert '--nnodes=2 --node_rank=1 --nproc_per_node=4 --master_addr=10.0.0.1 --master_port=29501' in line


def test_slurm_gets_a_task_for_each_gpu(call):
    options = dict(GPUS='16', GPUS_PER_NODE='8', CPUS_PER_TASK='4', SRUN_ARGS='--signal=TERM@120 --requeue')
    line = call('slurm_train.sh', 'gpu', 'job', 'c.py', '--resume', **options)
    assert '-p gpu --job-name=job --gres=gpu:8 --ntasks=16 --ntasks-per-node=8 --cpus-per-task=4' in line
    assert '--kill-on-bad-exit=1 --signal=TERM@120 --requeue python -u' in line
    assert line.rstrip().endswith('tools/train.py c.py --launcher slurm --resume')


def test_slurm_evaluates_a_checkpoint(call):
    line = call('slurm_test.sh', 'gpu', 'job', 'c.py', 'w.pth', '--tta', GPUS='4', GPUS_PER_NODE='4')
    assert '-p gpu --job-name=job --gres=gpu:4 --ntasks=4 --ntasks-per-node=4' in line
    assert line.rstrip().endswith('tools/test.py c.py w.pth --launcher slurm --tta')
