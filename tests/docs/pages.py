"""The fenced blocks of the documentation, and the commands in them and in its inline code."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').glob('*.md'))]
FAMILIES = sorted((ROOT / 'configs').glob('*/README.md'))
FENCE = re.compile(r'^```(\S*)(?: title="([^"]+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)
INLINE = re.compile(r'`([^`\n]+)`')
COMMAND = re.compile(r'([A-Z_]+=\S+ )?(python3?|make|pip|mim) \S|([A-Z_]+=\S+ )?tools/')
SHELLS = ('sh', 'bash', 'shell', 'console')


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, number on it, language, title (a file's name) and text."""

    page: Path
    number: int
    language: str
    title: str
    text: str

    @property
    def id(self) -> str:
        return f'{self.page.name}-{self.number}'


def blocks(page: Path, *languages: str) -> list[Block]:
    """Those of a page in these languages, all without any."""
    found = [Block(page, i, *groups) for i, groups in enumerate(FENCE.findall(page.read_text()))]
    return [block for block in found if not languages or block.language in languages]


def commands(page: Path) -> list[tuple[str, bool]]:
    """Every command line of a page: of its shell blocks and, with True behind it, inline code that begins like one."""
    lines = []
    for block in blocks(page, *SHELLS):
        joined = block.text.replace('\\\n', ' ')
        lines += [(line.strip(), False) for line in joined.splitlines() if line.strip()]
    inline = INLINE.findall(FENCE.sub('', page.read_text()))
    inline = [re.sub(r' \[[^]]*]', '', code) for code in inline]  # what may be left out
    return lines + [(code, True) for code in inline if COMMAND.match(code)]


def split(line: str) -> list[list[str]]:
    """The simple commands of a line as words: comments, variables before a command and redirections left out."""
    line = re.sub(r'"\$\(.*?\)"', '.', line)  # what a substitution gives is not known here
    lexer = shlex.shlex(line, posix=True, punctuation_chars='&|;')
    lexer.whitespace_split = True
    lexer.commenters = '#'
    simple: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set('&|;'):
            simple.append([])
        elif simple[-1] or not re.match(r'[A-Z_]+=', word):
            simple[-1].append(word)
    return [words for words in simple if words]
