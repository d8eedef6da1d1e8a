"""Code blocks of the project's pages."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
#: relative to the checkout; CONTRIBUTING.md has commands for maintainers
PAGES = sorted(
    path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "README.md", *CHECKOUT.glob("docs/**/*.md"))
)
_BLOCK = re.compile(r'^( *)```(\w*)(?: title="([^"]*)")?[^\n]*\n(.*?)^\1```', re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A code block, as it stands on its page."""

    page: str
    language: str
    title: str
    text: str
    line: int

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str | Path, *languages: str) -> Iterator[Block]:
    """Code blocks of a page in one of the languages, in order."""
    text = (CHECKOUT / page).read_text()
    for match in _BLOCK.finditer(text):
        indent, language, title, code = match.groups()
        if language in languages:
            code = re.sub(rf"^{indent}", "", code, flags=re.MULTILINE)
            yield Block(str(page), language, title or "", code, text[: match.start()].count("\n") + 1)


def commands(block: Block) -> list[list[str]]:
    """A shell block's commands as words, continued lines and comments as in a shell."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [
        words for line in lines for part in line.split("&&") if (words := shlex.split(part, comments=True))
    ]
