"""Packaging of mmmamba. Everything is Python: there is nothing to compile."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
version = {}
exec((ROOT / 'mmmamba' / 'version.py').read_text(), version)
requirements = [line.split('#')[0].strip() for line in (ROOT / 'requirements.txt').read_text().splitlines()]

setup(
    name='mmmamba',
    version=version['__version__'],
    description='Vision-Mamba backbones and scans as one config-driven training toolkit on the OpenMMLab stack',
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['mmmamba', 'mmmamba.*']),
    install_requires=[requirement for requirement in requirements if requirement],
    extras_require={'test': ['pytest>=8', 'hypothesis>=6.100', 'ruff>=0.6']},
)
