"""The pages of the project, and the fenced blocks in them.

How the blocks of a page are marked:

    ```python test      runs, in the order of the page; with `# name.py` on top it is a module of that name
    ```sh test          its `turnkeeper …` lines run in this process, and end with exit code 0
    ```text output      lines that the commands just before it wrote; `…` stands for anything
    ```python           compiles, and what it imports from us exists
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "api_client", "storage", "worker", "deploy", "examples", "benchmarks", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. `marks` are the words after its language."""

    language: str
    marks: frozenset[str]
    text: str

    @property
    def module(self) -> str | None:
        """The module that the block is, by its first line."""
        found = re.match(r"# (\w+)\.py\b", self.text)
        return found[1] if found else None


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [Block(one[1], frozenset(one[2].split()), one[3]) for one in FENCE.finditer(text)]


def names(pages: list[Path]) -> list[str]:
    """The pages as tests are named after them."""
    return [str(page.relative_to(ROOT)) for page in pages]


def lines_of(text: str) -> list[str]:
    """The lines of a shell block, continued ones joined, empty ones left out."""
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
