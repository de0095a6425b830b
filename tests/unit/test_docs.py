"""What the pages say is true: commands, links, places, settings, tables and the reference."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import os
import re
import shlex
import sqlite3
import tomllib
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.fakes.pages import FENCE, PAGES, ROOT, blocks_of, lines_of, names
from turnkeeper.cli.main import app as command_line
from turnkeeper_storage.settings import Settings

PLACE = re.compile(r"`((?:api_client|storage|worker|tests|docs|deploy|examples|benchmarks)/[\w./-]*)`")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
ALL = pytest.mark.parametrize("page", PAGES, ids=names(PAGES))


@ALL
def test_python_blocks_compile_and_import_what_there_is(page: Path) -> None:
    for block in blocks_of(page):
        if block.language == "python":
            tree = ast.parse(block.text)
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("turnkeeper"):
                    module: types.ModuleType = importlib.import_module(str(node.module))
                    for alias in node.names:
                        assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


@ALL
def test_commands_exist(page: Path) -> None:
    for block in blocks_of(page):
        if block.language in ("sh", "console"):
            for line in lines_of(block.text):
                check_command(line, page.parent)


def check_command(line: str, folder: Path) -> None:
    words = shlex.split(line.rstrip().removesuffix("&"), comments=True)
    words = words[:-1] if words[-1:] == ["&"] else words
    # where its output goes is the shell's
    words = words[: min((words.index(sign) for sign in (">", "|") if sign in words), default=len(words))]
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    match words[:2]:
        case ["turnkeeper", *_]:
            parse(typer.main.get_command(command_line), words[1:])
        case ["make", target]:
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make has no target {target}"
        case ["python", "-m"]:
            assert importlib.util.find_spec(words[2]) is not None, line
        case ["python", script]:
            assert (ROOT / script).is_file() or (folder / script).is_file(), line
        case ["pip", "install"]:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
            wanted = set(re.findall(r"\w+", "".join(re.findall(r"\[(.*?)\]", line))))
            assert wanted <= set(project["optional-dependencies"]), line


def parse(command: Any, words: list[str]) -> None:
    """Let the command line parse the words; it raises for what it does not know, and runs nothing."""
    with command.make_context(command.name, words) as context:
        rest = [*context._protected_args, *context.args] if hasattr(command, "commands") else []
        if rest:
            assert rest[0] in command.commands, f"there is no command {rest[0]}"
            parse(command.commands[rest[0]], rest[1:])


@ALL
def test_sql_blocks_fit_the_tables(page: Path, migrated_sqlite: str) -> None:
    with contextlib.closing(sqlite3.connect(migrated_sqlite.removeprefix("sqlite:///"))) as connection:
        for block in blocks_of(page):
            if block.language == "sql":
                connection.executescript(block.text)


@ALL
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http://", "https://")):
            path, _, anchor = target.partition("#")
            linked = (page.parent / path).resolve() if path else page
            assert linked.exists(), f"{target} leads nowhere"
            if anchor:
                assert anchor in anchors(linked), f"{target} names no heading"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@ALL
def test_tests_that_are_named_exist(page: Path) -> None:
    for file, name in TEST.findall(page.read_text(encoding="utf-8")):
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file} has no {name}"


@ALL
def test_places_and_settings_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for place in PLACE.findall(text):
        assert (ROOT / place).exists(), f"{place} is not there"
    for name in re.findall(r"\bTURNKEEPER_[A-Z_]*[A-Z]\b", text):
        assert name in variables(), f"{name} is no setting"


def variables() -> list[str]:
    fields = Settings.model_fields.items()
    return [str(info.validation_alias or f"TURNKEEPER_{name.upper()}") for name, info in fields]


def table(page: str, heading: str) -> list[list[str]]:
    """The rows of the first table under a heading, without its head, their cells without backticks."""
    text = (ROOT / page).read_text(encoding="utf-8").partition(f"## {heading}\n")[2]
    rows = [line for line in text.partition("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_operations_names_every_setting_with_its_default() -> None:
    documented = {row[0]: row[1] for row in table("docs/operations.md", "Settings")}
    actual = {}
    for (_, info), variable in zip(Settings.model_fields.items(), variables(), strict=True):
        actual[variable] = "" if info.default is None else str(info.default)
    assert documented == actual


CODED = {"RunFailure", "ModelError", "RunError", "Fail", "_Fault", "_failed"}


def codes_in_source() -> set[str]:
    found: set[str] = set()
    for folder in ("worker/turnkeeper_worker", "storage/turnkeeper_storage"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and node.args and _name(node.func) in CODED:
                    found |= _texts(node.args[0])
                elif file.name == "failures.py" and isinstance(node, ast.Assign | ast.Return) and node.value:
                    found |= {text for text in _texts(node.value) if text.startswith("model_")}
    return found


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _texts(node: ast.expr) -> set[str]:
    """The codes that stand as such in an expression: `"a"`, `"a", text`, `"a" if … else "b"`."""
    if isinstance(node, ast.Tuple):
        return set().union(*map(_texts, node.elts))
    if isinstance(node, ast.IfExp):
        return _texts(node.body) | _texts(node.orelse)
    value = node.value if isinstance(node, ast.Constant) else None
    return {value} if isinstance(value, str) and re.fullmatch(r"[a-z]+(_[a-z]+)*", value) else set()


def test_operations_names_every_failure_code() -> None:
    assert {row[0] for row in table("docs/operations.md", "Failure codes")} == codes_in_source()


@pytest.mark.parametrize(("word", "file"), [("PROTOCOL", "protocol"), ("DESIGN", "design")])
def test_what_comments_refer_to_is_there(word: str, file: str) -> None:
    page = (ROOT / "docs" / f"{file}.md").read_text(encoding="utf-8")
    sources = [path for part in ("api_client", "storage", "worker") for path in (ROOT / part).rglob("*.py")]
    found = [re.findall(rf"{word} §?(\d+)(?:\.(\d+))?", path.read_text("utf-8")) for path in sources]
    for section, rule in {reference for references in found for reference in references}:
        text = page.partition(f"\n## {section}. ")[2].partition("\n## ")[0]
        assert text, f"{word} {section} is not in docs/{file}.md"
        assert not rule or f"\n{rule}. " in text, f"{word} {section}.{rule} is not in docs/{file}.md"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_reference_is_current() -> None:
    written = load_generator()()
    for path, text in written.items():
        assert (ROOT / path).read_text(encoding="utf-8") == text, "run: python docs/generate_reference.py"
    folder = ROOT / "docs/reference"
    assert {os.fspath(page.relative_to(ROOT)) for page in folder.glob("*.md")} == set(written)


def load_generator() -> Callable[[], dict[str, str]]:
    spec = importlib.util.spec_from_file_location("generate_reference", ROOT / "docs/generate_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pages: Callable[[], dict[str, str]] = module.pages
    return pages
