"""No command of the documentation escapes: its script, flags, config and target exist, and an unknown one fails."""

import contextlib
import importlib.util
import io
import re
import sys
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from pages import FAMILIES, PAGES, ROOT, blocks, commands, split

from mmmamba import __main__ as command
from mmmamba.engine.config_files import find_config

SYSTEM = {'apt-get', 'cd', 'cp', 'export', 'kill', 'nvidia-smi', 'sed', 'source'}
CLUSTER = {'docker', 'sbatch', 'scancel', 'scontrol', 'squeue', 'srun', 'torchrun'}
OTHERS = SYSTEM | CLUSTER | {'git', 'tensorboard', 'wandb'}
PLACEHOLDER = re.compile(r'[A-Z][A-Z0-9_]*(\.\w+)?$')  # CONFIG, CHECKPOINT, OUT.pth
FRAGMENT = re.compile('are required|expected .* argument')  # of inline code, as `tools/test.py --out`
MODULES = {'mmmamba.doctor', 'pytest', 'torch.distributed.run'}
WRITTEN = ('configs/my_data/', 'configs/my_models/')  # by the reader, on the page itself; test_python.py loads them


def check(words: list[str], *, fragment: bool = False) -> None:
    """Raise an AssertionError that says what does not exist; a fragment leaves out required arguments."""
    program, *arguments = words[1:] if words[0] == 'bash' else words
    if program in ('python', 'python3', '$RUN'):
        _check_python(arguments, fragment)
    elif program == 'make':
        targets = [word for word in arguments if '=' not in word]
        assert set(targets) <= _make_targets(), f'make has no target {targets}'
    elif program == 'pip':
        _check_pip(arguments)
    elif program == 'mim':
        action, package, config = arguments[:3]
        assert (action, package) == ('train', 'mmmamba')
        _check_config(config)
    elif program.startswith('tools/') and program.endswith('.sh'):
        _check_script(program, arguments)
    elif program.startswith('tools/'):
        _check_tool(ROOT / program, arguments, fragment)
    else:
        assert program in OTHERS, f'{program} is not known here: check it, or add it to OTHERS'


def _check_python(arguments: list[str], fragment: bool) -> None:
    first, *rest = arguments
    if first == '-c':
        compile(rest[0], '-c', 'exec')
    elif first == '-m' and rest[0] == 'mmmamba':
        tools = command.tools()
        if not PLACEHOLDER.match(rest[1]):
            assert rest[1] in tools, f'python -m mmmamba has no tool {rest[1]}'
            _check_tool(tools[rest[1]], rest[2:], fragment)
    elif first == '-m':
        assert rest[0] in MODULES, f'python -m {rest[0]} is not known here'
        for path in rest[1:] if rest[0] == 'pytest' else ():
            assert path.startswith('-') or (ROOT / path.split('::')[0]).exists(), f'{path} does not exist'
    else:
        _check_tool(ROOT / first, rest, fragment)


def _check_tool(tool: Path, arguments: list[str], fragment: bool = False) -> None:
    assert tool.is_file(), f'{tool} does not exist'
    for argument in arguments:
        if argument.startswith('configs/') and not any(c in argument for c in '*{'):
            _check_config(argument)
    arguments = ['CONFIG' if argument == '...' else argument for argument in arguments]
    if not arguments or any(argument.startswith('[') for argument in arguments):
        return  # the tool alone is named
    parse = _parser_of(tool)
    error, code = io.StringIO(), 0
    argv, sys.argv = sys.argv, [str(tool), *arguments]
    try:
        with contextlib.redirect_stderr(error):
            parse()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = argv
    message = error.getvalue().splitlines()[-1:]
    assert code in (0, None) or (fragment and FRAGMENT.search(message[0])), f'{tool.name} {arguments}: {message}'


def _check_script(script: str, arguments: list[str]) -> None:
    assert (ROOT / script).is_file(), f'{script} does not exist'
    if not arguments:
        return
    slurm, testing = 'slurm' in script, 'test' in script
    positional = arguments[2:] if slurm else arguments
    config, *rest = positional
    count = 1 if testing else 0  # tools/test.py's checkpoint
    checkpoint, rest = rest[:count], rest[count:]
    if not slurm:
        assert rest, f'{script} needs the number of processes'
        assert rest[0].isdigit() or PLACEHOLDER.match(rest[0]), f'{script}: {rest[0]} is no number of processes'
        rest = rest[1:]
    _check_tool(ROOT / 'tools' / ('test.py' if testing else 'train.py'), [config, *checkpoint, *rest])


def _check_config(config: str) -> None:
    if PLACEHOLDER.match(config) or config.startswith(WRITTEN) or (ROOT / config).is_dir():
        return
    find_config(ROOT / config if '/' in config else config)


def _check_pip(arguments: list[str]) -> None:
    assert arguments[0] in ('install', 'uninstall', 'download'), f'pip {arguments[0]} is not known here'
    for word in arguments[1:]:
        if word.startswith('.'):
            extras = re.findall(r'\w+', word)
            assert all(f"'{extra}': " in (ROOT / 'setup.py').read_text() for extra in extras), f'no extra {extras}'
        elif not word.startswith('-') and not word.endswith('.txt'):
            Requirement(word)
        elif word.endswith('.txt'):
            assert (ROOT / word).is_file(), f'{word} does not exist'


def _make_targets() -> set[str]:
    return set(re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE))


@lru_cache
def _parser_of(tool: Path):
    spec = importlib.util.spec_from_file_location(tool.stem, tool)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.parse_args


def _id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize('page', [*PAGES, *FAMILIES], ids=_id)
def test_every_command_of_the_page_exists(page, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 8)  # a page is for machines with GPUs as well
    wrong = []
    for line, fragment in commands(page):
        for words in split(line):
            try:
                check(words, fragment=fragment)
            except Exception as error:
                wrong.append(f'{line}\n    {type(error).__name__}: {error}')
    assert not wrong, '\n' + '\n'.join(wrong)


@pytest.mark.parametrize('page', PAGES, ids=_id)
def test_every_block_of_the_page_has_a_language_that_is_tested(page):
    assert {block.language for block in blocks(page)} <= {'sh', 'bash', 'python', 'text'}


@pytest.mark.parametrize('page', [*PAGES, *FAMILIES], ids=_id)
def test_every_path_that_the_page_names_exists(page):
    text = re.sub(r'^```.*?^```', '', page.read_text(), flags=re.MULTILINE | re.DOTALL)
    named = re.findall(r'`((?:configs|tools|tests|mmmamba|docs)/[\w./-]+)`', text)
    assert not [path for path in named if not (ROOT / path).exists() and not path.startswith(WRITTEN)]


@pytest.mark.parametrize('line', [
    'python tools/trian.py configs/vmamba/vmamba-t_8xb128-300e_in1k.py',
    'python tools/train.py configs/vmamba/vmamba-t_8xb128-300e_in1k.py --no-such-flag',
    'python tools/train.py configs/vmamba/no-such-config.py',
    'python -m mmmamba no_such_tool',
    'make no-such-target',
    "pip install '.[no-such-extra]'",
    'tools/dist_train.sh configs/vmamba/vmamba-t_8xb128-300e_in1k.py eight',
    'tools/slurm_train.sh PARTITION JOB configs/vmamba/vmamba-t_8xb128-300e_in1k.py --no-such-flag',
    'no-such-program --help',
])  # fmt: skip
def test_what_does_not_exist_is_found(line):
    (words,) = split(line)
    with pytest.raises((AssertionError, RuntimeError)):
        check(words)
