"""What is installed from the wheel works outside the clone: tools, configs, inference, training."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from mmmamba import __main__ as command

ROOT = Path(__file__).parents[1]
CONFIG = 'cls_vmamba-nano_handwriting'
BRIEFLY = {
    'train_cfg': 'max_epochs=1 val_interval=1',
    'train_dataloader': 'batch_size=16 num_workers=0 persistent_workers=False dataset.indices=32',
    'val_dataloader': 'num_workers=0 persistent_workers=False dataset.indices=20',
}
TWO_ITERATIONS = [f'{key}.{option}' for key, options in BRIEFLY.items() for option in options.split()]


def test_the_command_knows_the_tools_in_python():
    assert {'train', 'test', 'image_demo', 'get_flops', 'convert_checkpoint'} <= set(command.tools())


def test_the_command_passes_arguments_on(monkeypatch, capsys):
    with pytest.raises(SystemExit, match='0'):
        command.main(['train', '--help'])
    assert '--auto-scale-lr' in capsys.readouterr().out


@pytest.mark.parametrize('arguments', [[], ['trian']], ids=str)
def test_the_command_names_the_tools_there_are(arguments):
    with pytest.raises(SystemExit, match='TOOL one of .*get_flops.*train'):
        command.main(arguments)


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('wheel')
    others = shutil.ignore_patterns('.*', 'build', 'data', 'tests', 'work_dirs', '*.egg-info')
    shutil.copytree(ROOT, folder / 'clone', ignore=others)  # setuptools leaves its build/ in the clone
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '--quiet']
    build = [*pip, 'wheel', '--no-deps', '--no-build-isolation', '-w', folder, folder / 'clone']
    subprocess.run(build, check=True)
    (built,) = folder.glob('*.whl')
    return built


@pytest.fixture(scope='module')
def run(wheel, tmp_path_factory):
    """``run(script or -m, ...)``: Python of a fresh environment with the wheel, in an empty folder, no clone on
    its path.

    The rest of the stack is the one this test runs on: its folder is added to the path, behind the wheel's.
    """
    folder = tmp_path_factory.mktemp('outside')
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', str(folder / 'env')], check=True)
    python = folder / 'env/bin/python'
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '--quiet', '--python', str(python)]
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    subprocess.run([*pip, 'install', '--no-deps', '--no-index', str(wheel)], check=True, env=environment)
    (site_packages,) = (folder / 'env/lib').glob('*/site-packages')
    (site_packages / 'stack.pth').write_text(sysconfig.get_paths()['purelib'])
    (folder / 'work').mkdir()

    def call(*arguments: object) -> str:
        command = [str(python), *map(str, arguments)]
        done = subprocess.run(command, cwd=folder / 'work', env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    call.package = site_packages / 'mmmamba'
    call.folder = folder / 'work'
    return call


@pytest.mark.slow
def test_the_wheel_carries_every_config_and_tool(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(['git', 'ls-files', 'configs', 'tools', 'model-index.yml'], cwd=ROOT, capture_output=True)
    assert {f'mmmamba/.mim/{file}' for file in tracked.stdout.decode().splitlines()} <= inside
    assert not [name for name in inside if '__pycache__' in name or name.startswith(('tests/', 'configs/', 'tools/'))]


@pytest.mark.slow
def test_the_package_is_that_of_the_wheel_and_sound(run):
    assert run('-c', 'import mmmamba; print(mmmamba.__file__)').strip() == str(run.package / '__init__.py')
    assert f'in {run.package / ".mim/configs"}' in run('-m', 'mmmamba.doctor')


@pytest.mark.slow
def test_training_and_inference_run_from_the_wheel(run):
    """``mim train mmmamba CONFIG`` runs PACKAGE/.mim/tools/train.py with the config of that name in PACKAGE/.mim."""
    run('-m', 'mmmamba', 'prepare_handwriting')
    (config,) = (run.package / '.mim').rglob(f'{CONFIG}.py')
    mims = [run.package / '.mim/tools/train.py', config, '--launcher', 'none']
    run(*mims, '--work-dir', 'out', '--cfg-options', *TWO_ITERATIONS)
    weights = run.folder / 'out/epoch_1.pth'
    assert weights.is_file()
    image = next((run.folder / 'data/handwriting/imagenet/val').rglob('*.png'))
    run('-m', 'mmmamba', 'image_demo', image, CONFIG, weights, '--out-dir', 'pictures')
    assert list((run.folder / 'pictures/vis').rglob('*.png'))
    code = f"from mmmamba.apis import get_model; print(sum(p.numel() for p in get_model('{CONFIG}').parameters()))"
    assert int(run('-c', code).split()[-1]) > 1_000_000


@pytest.mark.slow
def test_the_scripts_for_several_processes_stay_executable(run):
    assert os.access(run.package / '.mim/tools/dist_train.sh', os.X_OK)
