"""Packaging of mmmamba. Everything is Python: there is nothing to compile."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
IN_MIM = ('configs', 'tools', 'model-index.yml')
version = {}
exec((ROOT / 'mmmamba' / 'version.py').read_text(), version)
requirements = [line.split('#')[0].strip() for line in (ROOT / 'requirements.txt').read_text().splitlines()]


class BuildWithMim(build_py):
    """Carry configs, tools and the model index in ``mmmamba/.mim``, where ``mim train mmmamba CONFIG`` looks for them.

    An editable install has none: it finds them beside the package.
    """

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        mim = Path(self.build_lib) / 'mmmamba' / '.mim'
        shutil.rmtree(mim, ignore_errors=True)  # build/ may hold an older one
        mim.mkdir(parents=True)
        for name in IN_MIM:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, mim / name, ignore=shutil.ignore_patterns('__pycache__'))
            else:
                shutil.copy2(ROOT / name, mim)


export = ['onnx>=1.16', 'onnxruntime>=1.18', 'onnxscript>=0.5']
docs = ['mkdocs>=1.6,<2', 'mkdocs-material>=9.5,<10']
lint = ['ruff>=0.6', 'mypy>=1.11']
setup(
    name='mmmamba',
    version=version['__version__'],
    description='Vision-Mamba backbones and scans as one config-driven training toolkit on the OpenMMLab stack',
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['mmmamba', 'mmmamba.*']),
    package_data={'mmmamba': ['py.typed']},
    cmdclass={'build_py': BuildWithMim},
    install_requires=[requirement for requirement in requirements if requirement],
    extras_require={
        'export': export,
        'docs': docs,
        'lint': lint,
        'test': ['pytest>=8', 'pytest-xdist>=3.5', 'hypothesis>=6.100', 'tensorboard>=2.14', *lint, *export, *docs],
    },
)
