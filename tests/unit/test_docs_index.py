"""The docs as a whole: each page within two clicks, the index for language models, and the site."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import types
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import pytest

from tests.fakes.pages import FENCE, PAGES, ROOT, blocks_of, names

LINK = re.compile(r"(?<!!)\]\(([^)\s#]+)[^)]*\)")
SITE_SECONDS = 120


def links_of(page: Path) -> set[Path]:
    """The pages that a page links to."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = [target for target in LINK.findall(text) if "://" not in target and target.endswith(".md")]
    return {(page.parent / target).resolve() for target in targets}


def test_each_page_is_within_two_clicks_of_the_readme() -> None:
    first = links_of(ROOT / "README.md")
    second = set().union(*map(links_of, first))
    missing = set(PAGES) - first - second - {ROOT / "README.md"}
    assert names(sorted(missing)) == [], "link them from README.md, or from a page that it links to"


def test_each_guide_is_one_click_away() -> None:
    guides = {page for page in PAGES if page.parent == ROOT / "docs/guides"}
    assert names(sorted(guides - links_of(ROOT / "README.md"))) == []


def _llms() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("generate_llms_txt", ROOT / "docs/generate_llms_txt.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_index_for_language_models_is_current() -> None:
    written = (ROOT / "llms.txt").read_text(encoding="utf-8")
    assert written == _llms().text(), "run: python docs/generate_llms_txt.py"


def test_the_index_for_language_models_has_each_page_of_the_docs_with_its_title() -> None:
    written = (ROOT / "llms.txt").read_text(encoding="utf-8")
    assert written.startswith("# Turnkeeper\n\n> ")
    entries = dict(re.findall(r"(?m)^- \[(.+)\]\((.+?)\): \S", written))
    found = {path: title for title, path in entries.items()}
    docs = {page.relative_to(ROOT).as_posix() for page in PAGES if page.is_relative_to(ROOT / "docs")}
    assert docs <= set(found)
    for path, title in found.items():
        assert f"# {title}\n" in (ROOT / path).read_text(encoding="utf-8")


def test_a_first_paragraph_is_plain_and_ends_with_a_sentence() -> None:
    first_paragraph = _llms().first_paragraph
    assert first_paragraph("# A\n\n```sh\nx\n```\n\nSee [that](b.md)\n**now**.\n\nMore.") == "See that now."
    assert first_paragraph(f"One. {'word ' * 60}") == "One."
    assert first_paragraph("word " * 60).endswith("word…")


class Loads(HTMLParser):
    """What a page of the site loads by itself, and where its links lead."""

    LOADING: ClassVar[dict[str, str]] = {
        "script": "src",
        "img": "src",
        "link": "href",
        "iframe": "src",
        "source": "src",
    }

    def __init__(self) -> None:
        super().__init__()
        self.loaded: set[str] = set()
        self.linked: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in self.LOADING and given.get("rel") not in ("canonical", "prev", "next"):
            self.loaded.add(given.get(self.LOADING[tag]) or "")
        if tag == "a":
            self.linked.add(given.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The docs as a site, built strictly: a link or a page that leads nowhere is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=SITE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def read(page: Path) -> Loads:
    """A page of the site."""
    found = Loads()
    found.feed(page.read_text(encoding="utf-8"))
    return found


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(list((ROOT / "docs").rglob("*.md")))
    for page in pages:
        assert not [one for one in read(page).loaded if "//" in one], page
        # the theme would fetch a library for a drawing, and stars for a repository
        assert 'class="mermaid"' not in page.read_text(encoding="utf-8")
        assert 'data-md-component="source"' not in page.read_text(encoding="utf-8")
    for style in site.rglob("*.css"):
        assert "url(http" not in style.read_text(encoding="utf-8")


def test_links_of_the_pages_lead_to_pages_of_the_site_and_else_to_the_source(site: Path) -> None:
    start = read(site / "index.html").linked
    assert {"tutorial/", "guides/sessions/", "operations/", "threat-model/", "adr/"} <= start
    assert not [one for one in start if one.endswith(".md") and "://" not in one]
    reliability = read(site / "reliability/index.html").linked
    assert not [one for one in reliability if one.endswith(".md") and "://" not in one]
    security = (site / "threat-model/index.html").read_text(encoding="utf-8")
    assert 'href="../security/#who-is-trusted-with-what"' in security


def test_blocks_are_shown_as_code_without_the_words_that_mark_them_for_tests(site: Path) -> None:
    shown = (site / "tutorial/index.html").read_text(encoding="utf-8")
    assert "```" not in shown
    assert shown.count('<div class="highlight">') == len(blocks_of(ROOT / "docs/tutorial.md"))
    assert "python test" not in shown


def test_the_index_for_language_models_leads_to_plain_pages_of_the_site(site: Path) -> None:
    written = (site / "llms.txt").read_text(encoding="utf-8")
    paths = re.findall(r"(?m)^- \[.+\]\((.+?)\)", written)
    assert len(paths) > 30
    assert [path for path in paths if not (site / path).is_file()] == []


def test_the_site_is_not_part_of_the_repository() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("this is no checkout of git")
    done = subprocess.run([git, "check-ignore", "site/index.html"], cwd=ROOT, check=False, timeout=60)
    assert done.returncode == 0
