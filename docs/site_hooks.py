"""What mkdocs does beside its own: pages of the root, links that leave docs/, marks of blocks, plain copies.

The pages are written for a code host, where README.md is the start and a link may lead to any file. Here they
get the paths that they have in the site, and a link to a file that is no page leads to the source.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# pages outside docs/, and where they are in the site
BROUGHT_IN = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "threat-model.md",
    "deploy/README.md": "deploy.md",
}
# plots that a page shows, where `make bench` leaves them
PLOTS = {
    plot.relative_to(ROOT).as_posix(): f"images/results/{plot.name}"
    for plot in sorted((ROOT / "benchmarks/results").glob("*.svg"))
}
HOME = {at: source for source, at in BROUGHT_IN.items()}
# a fence with its text, or the target of a link or a picture
FENCE_OR_LINK = re.compile(r"(?ms)^```.*?^```$|(?<=\]\()([^)\s]+)(?=\))")
MARKED_FENCE = re.compile(r"(?m)^```(\w+) [^\n]*$")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Bring the pages of the root in, and spell the entries of the menu out."""
    for source, at in BROUGHT_IN.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, at, content=text))
    for source, at in PLOTS.items():
        files.append(File.generated(config, at, abs_src_path=str(ROOT / source)))
    pages = {file.src_uri: _title(file.content_string) for file in files.documentation_pages()}
    config.nav = _spelled_out(config.nav or [], pages)
    return files


def _title(text: str) -> str:
    return (re.search(r"(?m)^# (.+)$", text) or ["", ""])[1]


def _spelled_out(entries: Iterable[Any], pages: dict[str, str]) -> list[Any]:
    """The menu, with the pages that fit in the place of an entry with a `*`."""
    found: list[Any] = []
    for entry in entries:
        if isinstance(entry, dict):
            found += [{name: _spelled_out(below, pages)} for name, below in entry.items()]
        elif "*" in entry:
            fitting = [
                page for page in pages if Path(page).match(entry) and page.count("/") == entry.count("/")
            ]
            by_name = entry.startswith("adr/")
            found += sorted(fitting, key=lambda page: page if by_name else pages[page].lower())
        else:
            found.append(entry)
    return found


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links to where things are in the site; leave the words that mark a block for tests out."""
    here = page.file.src_uri
    source = HOME.get(here, f"docs/{here}")

    def led(found: re.Match[str]) -> str:
        return _led(found[1], source, here, str(config.extra["source_url"])) if found[1] else found[0]

    text = FENCE_OR_LINK.sub(led, markdown)
    return MARKED_FENCE.sub(r"```\1", text)


def _led(target: str, source: str, here: str, source_url: str) -> str:
    """A link of the page `source`, which is `here` in the site, as it is to be there."""
    parts = urlsplit(target)
    if parts.scheme or not parts.path:
        return target
    there = posixpath.normpath(posixpath.join(posixpath.dirname(source), parts.path))
    anchor = f"#{parts.fragment}" if parts.fragment else ""
    at = (BROUGHT_IN | PLOTS).get(there) or (
        there.removeprefix("docs/") if there.startswith("docs/") else None
    )
    if at is None or at.endswith(".py"):
        return f"{source_url}/{there}{anchor}"
    return posixpath.relpath(at, posixpath.dirname(here) or ".") + anchor


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> Navigation:
    """Call the start page what it is, not what the project is called."""
    if nav.homepage is not None:
        nav.homepage.title = "Turnkeeper"
    return nav


def on_post_build(config: MkDocsConfig) -> None:
    """Put the index for language models into the site, and each page as plain Markdown where it points to."""
    site = Path(config.site_dir)
    (site / "llms.txt").write_text((ROOT / "llms.txt").read_text(encoding="utf-8"), encoding="utf-8")
    for page in [*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in BROUGHT_IN)]:
        copy = site / page.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
