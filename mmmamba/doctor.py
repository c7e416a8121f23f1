"""What is installed, which backends serve, and what to do about each problem: ``python -m mmmamba.doctor``.

Exit code 1 if something is broken; a warning is something that works, slower or less well than it could.
"""

import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmmamba import compat
from mmmamba.version import __version__

if TYPE_CHECKING:  # a broken torch is one of the things to report
    import torch

OK, WARNING, BROKEN = 'ok', 'warning', 'BROKEN'
LIBRARIES = {'mmengine': 'onedl-mmengine', 'mmcv': 'onedl-mmcv', 'mmdet': 'onedl-mmdetection',
             'mmseg': 'onedl-mmsegmentation', 'mmpretrain': 'onedl-mmpretrain'}  # fmt: skip
SHARED_MEMORY = 1 << 30  # bytes; containers start with 64 MiB, and loader workers pass whole batches through it


@dataclass(frozen=True)
class Finding:
    """One line of the report: how it stands, what it is about, and for a problem what to do."""

    status: str
    about: str
    text: str
    remedy: str = ''

    def __str__(self) -> str:
        line = f'{self.status:>7}  {self.about}: {self.text}'
        return f'{line}\n         -> {self.remedy}' if self.remedy else line


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return 'not installed'


def check_python() -> Iterator[Finding]:
    """The interpreter and mmmamba itself."""
    text = f'{platform.python_version()} ({sys.executable}), {platform.system()} {platform.machine()}'
    yield Finding(OK, 'python', text)
    yield Finding(OK, 'mmmamba', f'{__version__} ({Path(__file__).parent})')
    for name in ('numpy', 'opencv-python', 'opencv-python-headless', 'transformers'):
        yield Finding(OK, name, _version(name))


def check_versions() -> Iterator[Finding]:
    """What is installed against the tested ranges."""
    for problem in compat.stack_problems():
        text, _, remedy = problem.partition('; ')
        yield Finding(WARNING, 'versions', text, remedy)


def check_torch() -> Iterator[Finding]:
    """PyTorch imports, and torchvision was built for it."""
    try:
        import torch
    except (ImportError, OSError) as error:
        remedy = f'pip install --force-reinstall "torch{compat.TESTED["torch"]}"'
        yield Finding(BROKEN, 'torch', f'{_version("torch")} does not import: {_first_line(error)}', remedy)
        return
    yield Finding(OK, 'torch', f'{torch.__version__}, built for {_built_for(torch)}')
    try:
        import torchvision

        boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
        torchvision.ops.nms(boxes, torch.ones(1), 0.5)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        text = f'{_version("torchvision")} does not work with torch {torch.__version__}: {_first_line(error)}'
        yield Finding(BROKEN, 'torchvision', text, matching_torchvision(torch.__version__))
    else:
        yield Finding(OK, 'torchvision', torchvision.__version__)


def _built_for(torch: Any) -> str:
    if torch.version.cuda:
        return f'CUDA {torch.version.cuda}'
    return f'ROCm {torch.version.hip}' if getattr(torch.version, 'hip', None) else 'the CPU alone'


def matching_torchvision(torch_version: str) -> str:
    """The command that installs the torchvision of a torch 2 version: 2.N goes with 0.(N + 15)."""
    minor = int(torch_version.split('.')[1])
    return f'pip install --force-reinstall --no-deps "torchvision==0.{minor + 15}.*", from the index torch came from'


def check_gpu() -> Iterator[Finding]:
    """GPUs that PyTorch sees, and those that it does not."""
    try:
        import torch
    except (ImportError, OSError):
        return
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(i)
            text = f'{i}: {device.name}, {device.total_memory / 2**30:.0f} GiB, sm_{device.major}{device.minor}'
            yield Finding(OK, 'gpu', text)
    elif Path('/dev/nvidia0').exists() or shutil.which('nvidia-smi'):
        if torch.version.cuda:
            remedy = f'torch is built for CUDA {torch.version.cuda}: update the driver, or see CUDA_VISIBLE_DEVICES'
        else:
            remedy = 'this torch is built for the CPU alone: install a CUDA build'
        yield Finding(WARNING, 'gpu', 'there is a GPU, and torch cannot use it', remedy)
    else:
        yield Finding(OK, 'gpu', 'none; training and inference run on the CPU')


def check_backends() -> Iterator[Finding]:
    """Which implementation of the scans serves each device, tried on a small scan."""
    try:
        import torch

        from mmmamba.ops import backend, selective_scan
    except (ImportError, OSError) as error:
        yield Finding(BROKEN, 'scans', f'mmmamba.ops does not import: {_first_line(error)}', 'mend torch first')
        return
    if not backend.HAS_NUMBA:
        text = 'not installed: scans on the CPU run in PyTorch, slower'
        yield Finding(WARNING, 'numba', text, 'pip install "numba>=0.60"')
    else:
        yield Finding(OK, 'numba', _version('numba'))
    if backend.HAS_TRITON:
        yield Finding(OK, 'triton', _version('triton'))
    elif torch.cuda.is_available():
        text = 'not installed: scans on the GPU run in PyTorch, far slower and with more memory'
        yield Finding(WARNING, 'triton', text, 'pip install triton (Windows: triton-windows)')
    if backend.HAS_TRITON and torch.cuda.is_available():
        yield from _check_compiler()
    for device in ['cpu', *(['cuda'] if torch.cuda.is_available() else [])]:
        yield _try_scan(torch.device(device), selective_scan, backend)


def _check_compiler() -> Iterator[Finding]:
    """Triton builds a small C module for its launcher on first use."""
    compiler = os.environ.get('CC') or shutil.which('cc') or shutil.which('gcc') or shutil.which('clang')
    if compiler is None:
        remedy = 'apt-get install gcc, or set CC, or MMMAMBA_BACKEND=torch'
        yield Finding(BROKEN, 'triton', 'finds no C compiler', remedy)
    header = Path(sysconfig.get_paths()['include'], 'Python.h')
    if not header.is_file():
        remedy = f'apt-get install python{sys.version_info.major}.{sys.version_info.minor}-dev'
        yield Finding(BROKEN, 'triton', f'finds no {header}', f'{remedy}, or set MMMAMBA_BACKEND=torch')


def _try_scan(device: 'torch.device', selective_scan: Callable, backend: Any) -> Finding:
    import torch

    generator = torch.Generator().manual_seed(0)
    u, delta, B, C = (torch.randn(1, 9, n, generator=generator).to(device) for n in (8, 8, 4, 4))
    A = -torch.rand(8, 4, generator=generator).to(device)
    about = f'scans on {device.type}'
    try:
        name = backend.resolve_backend('auto', device)
        found = selective_scan(u, delta, A, B, C, delta_softplus=True)
    except Exception as error:  # whatever a compiler or a driver raises is what the report is for
        remedy = 'the environment variable MMMAMBA_BACKEND=torch avoids the kernel; please report what it printed'
        return Finding(BROKEN, about, f'{type(error).__name__}: {_first_line(error)}', remedy)
    expected = selective_scan(u, delta, A, B, C, delta_softplus=True, backend='reference')
    worst = (found - expected).abs().max().item()
    if not worst < 1e-4:
        text = f'{name} differs from the reference by {worst:.1e}'
        return Finding(BROKEN, about, text, 'set MMMAMBA_BACKEND=torch, and please report it')
    chosen = ' (MMMAMBA_BACKEND)' if os.environ.get('MMMAMBA_BACKEND') else ''
    return Finding(OK, about, f'{name}{chosen}, {worst:.0e} from the reference')


def check_libraries() -> Iterator[Finding]:
    """The OpenMMLab libraries import."""
    for module, distribution in LIBRARIES.items():
        try:
            version = importlib.import_module(module).__version__
        except Exception as error:  # an import of theirs can raise anything: assertions on versions, ABI errors
            text = f'{_version(distribution)} does not import: {type(error).__name__}: {_first_line(error)}'
            yield Finding(BROKEN, module, text, import_remedy(str(error), distribution))
        else:
            yield Finding(OK, module, f'{version} ({distribution})')
    transformers = _version('transformers')
    if transformers[0].isdigit() and int(transformers.split('.')[0]) >= 5:
        text = f"{transformers}: mmpretrain's multimodal models are left out, all others work"
        yield Finding(WARNING, 'transformers', text, 'pip install "transformers<5" if you need them')


def import_remedy(message: str, distribution: str) -> str:
    """What to do about an import that failed with this message."""
    if 'libGL' in message or 'libgthread' in message:
        return 'pip uninstall -y opencv-python && pip install --force-reinstall opencv-python-headless'
    if 'undefined symbol' in message:
        return f'it was compiled for another torch: {compat.COMPILED_MMCV}'
    return f'pip install --force-reinstall --no-deps "{distribution}{compat.TESTED[distribution]}"'


def check_mmcv_ops() -> Iterator[Finding]:
    """Who serves mmcv's compiled ops."""
    try:
        origin = str(getattr(importlib.import_module('mmcv._ext').__spec__, 'origin', None))
        importlib.import_module('mmcv.ops')
    except Exception as error:  # as above
        yield Finding(BROKEN, 'mmcv ops', _first_line(error), import_remedy(str(error), 'onedl-mmcv'))
        return
    if 'torchvision' in origin:
        text = 'nms and roi_align served from torchvision; others, as deformable convolution, raise when called'
        yield Finding(OK, 'mmcv ops', text)
    else:
        yield Finding(OK, 'mmcv ops', f'compiled, {origin}')


def check_environment() -> Iterator[Finding]:
    """Variables, folders and limits outside Python."""
    policy = os.environ.get('OMP_WAIT_POLICY', '')
    if policy.upper() == 'PASSIVE':
        yield Finding(OK, 'OMP_WAIT_POLICY', policy)
    else:
        text = f'{policy or "not set"}: idle threads spin, and CPU training beside another process is far slower'
        yield Finding(WARNING, 'OMP_WAIT_POLICY', text, 'export OMP_WAIT_POLICY=PASSIVE before Python starts')
    for about, folder in cache_folders().items():
        yield check_folder(about, folder)
    shared = Path('/dev/shm')
    if shared.is_dir() and shutil.disk_usage(shared).total < SHARED_MEMORY:
        text = f'{shutil.disk_usage(shared).total >> 20} MiB: loader workers can die of a bus error'
        yield Finding(WARNING, '/dev/shm', text, 'docker run --shm-size=8g, or train_dataloader.num_workers=0')


def cache_folders() -> dict[str, Path]:
    """Folders that compiled kernels and downloads are kept in, by what keeps them."""
    home = Path.home()
    beside = Path(__file__).parent / 'ops'
    users = Path(os.environ.get('XDG_CACHE_HOME', home / '.cache'), 'numba')
    numba = beside if os.access(beside, os.W_OK) else users  # numba's own order
    return {
        'numba cache': Path(os.environ.get('NUMBA_CACHE_DIR', numba)),
        'triton cache': Path(os.environ.get('TRITON_CACHE_DIR', home / '.triton' / 'cache')),
        'temporary folder': Path(tempfile.gettempdir()),
    }


def check_folder(about: str, folder: Path) -> Finding:
    """Whether a file can be written to a folder, or to where it would be made."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        variable = {'numba cache': 'NUMBA_CACHE_DIR', 'triton cache': 'TRITON_CACHE_DIR'}.get(about, 'TMPDIR')
        text = f'{folder} cannot be written: {error.strerror}'
        return Finding(BROKEN, about, text, f'set {variable} to a folder that can be')
    return Finding(OK, about, str(folder))


def check_configs() -> Iterator[Finding]:
    """The configs are where the package looks for them."""
    try:
        from mmmamba.engine.config_files import config_names, configs_folder

        yield Finding(OK, 'configs', f'{len(config_names())} in {configs_folder()}')
    except Exception as error:  # importing the engine imports every library
        yield Finding(BROKEN, 'configs', _first_line(error), 'mend what is broken above, or install mmmamba again')


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


CHECKS = (
    check_python,
    check_versions,
    check_torch,
    check_gpu,
    check_backends,
    check_libraries,
    check_mmcv_ops,
    check_environment,
    check_configs,
)


def main() -> int:
    """Print the report; 1 if something is broken, else 0."""
    findings = []
    for check in CHECKS:
        for finding in check():
            findings.append(finding)
            print(finding, flush=True)  # noqa: T201 - a report is what this module is for
    broken = sum(finding.status == BROKEN for finding in findings)
    warnings = sum(finding.status == WARNING for finding in findings)
    print(f'{broken} broken, {warnings} warnings')  # noqa: T201
    return int(broken > 0)


if __name__ == '__main__':
    sys.exit(main())
