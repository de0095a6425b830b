"""Write llms.txt, the index of the pages for language models: `python docs/generate_llms_txt.py`.

Title and first paragraph of each page are its entry, so the pages are the only truth;
`tests/unit/test_docs_index.py` checks that it is current. The form is that of llmstxt.org: a heading, a
summary, sections of links.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
# the last section is what may be left out where room is short
SECTIONS = {
    "Start": ("README.md", "docs/tutorial.md", "docs/glossary.md", "CHANGELOG.md"),
    "Guides": ("docs/guides/*.md",),
    "Operate": (
        "docs/operations.md",
        "docs/upgrading.md",
        "docs/runbook*.md",
        "deploy/README.md",
        "docs/performance.md",
        "docs/security.md",
        "SECURITY.md",
    ),
    "Reference": ("docs/reference/*.md",),
    "Optional": (
        "docs/architecture.md",
        "docs/design.md",
        "docs/protocol.md",
        "docs/reliability.md",
        "docs/adr/*.md",
        "CONTRIBUTING.md",
    ),
}
LONGEST = 200


def text() -> str:
    """The whole file."""
    summary = first_paragraph((ROOT / "README.md").read_text(encoding="utf-8"), longest=1000)
    parts = ["# Turnkeeper\n", f"> {summary}\n"]
    for heading, patterns in SECTIONS.items():
        pages = [page for pattern in patterns for page in sorted(ROOT.glob(pattern))]
        parts.append(f"## {heading}\n")
        parts.append("\n".join(_entry(page) for page in pages) + "\n")
    return "\n".join(parts)


def _entry(page: Path) -> str:
    content = page.read_text(encoding="utf-8")
    heading = re.search(r"(?m)^# (.+)$", content)
    title = heading[1] if heading else page.stem
    return f"- [{title}]({page.relative_to(ROOT)}): {first_paragraph(content)}"


def first_paragraph(content: str, longest: int = LONGEST) -> str:
    """The first paragraph of prose as plain text, cut after a sentence where it is longer than `longest`."""
    blocks = re.sub(r"(?ms)^```.*?^```$|<!--.*?-->", "", content).split("\n\n")
    prose = next(block for block in blocks if re.match(r"\s*[A-Za-z`*\[]", block))
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|\*\*?", lambda found: found[1] or "", " ".join(prose.split()))
    if len(plain) <= longest:
        return plain
    end = plain.rfind(". ", 0, longest)
    return plain[: end + 1] if end > 0 else f"{plain[: longest - 1].rpartition(' ')[0]}…"


if __name__ == "__main__":
    (ROOT / "llms.txt").write_text(text(), encoding="utf-8")
