"""Run a tool from anywhere, in a clone or with an installed wheel: ``python -m mmmamba train CONFIG --amp``."""

import runpy
import sys
from pathlib import Path

import mmmamba


def tools() -> dict[str, Path]:
    """The tools in Python by name, as ``train`` or ``get_flops``."""
    package = Path(mmmamba.__file__).parent
    installed = package / '.mim' / 'tools'
    folder = installed if installed.is_dir() else package.parent / 'tools'
    return {file.stem: file for file in sorted(folder.rglob('*.py'))}


def main(arguments: list[str]) -> None:
    """Run the tool that the first argument names with the others."""
    found = tools()
    if not arguments or arguments[0] not in found:
        sys.exit(f'usage: python -m mmmamba TOOL [arguments], TOOL one of {", ".join(found)}')
    sys.argv = [str(found[arguments[0]]), *arguments[1:]]
    runpy.run_path(sys.argv[0], run_name='__main__')


if __name__ == '__main__':
    main(sys.argv[1:])
