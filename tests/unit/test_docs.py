"""The documentation is true: its code runs, its commands exist, its tables are those of the source.

How the blocks of a page are marked:

    ```python test      runs, in the order of the page; with `# name.py` on top it is a module of that name
    ```sh test          its `turnkeeper …` lines run in this process, and end with exit code 0
    ```text output      lines that the commands just before it wrote; `…` stands for anything
    ```python           compiles, and what it imports from us exists

A worker runs for each Turnkeeper that a page defines, on SQLite and the practice model.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import importlib.util
import os
import re
import shlex
import sys
import tomllib
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import typer

from turnkeeper import Client, Turnkeeper
from turnkeeper.cli.main import app as command_line
from turnkeeper.cli.main import run as run_command
from turnkeeper.practice.server import PracticeServer
from turnkeeper_client.portal import Portal
from turnkeeper_storage.settings import Settings
from turnkeeper_worker.runtime import Runtime

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "api_client", "storage", "worker", "deploy", "examples", "benchmarks", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PLACE = re.compile(r"`((?:api_client|storage|worker|tests|docs|deploy|examples|benchmarks)/[\w./-]*)`")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. `marks` are the words after its language."""

    language: str
    marks: frozenset[str]
    text: str

    @property
    def module(self) -> str | None:
        found = re.match(r"# (\w+)\.py\b", self.text)
        return found[1] if found else None


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(one[1], frozenset(one[2].split()), one[3]) for one in FENCE.finditer(text)]


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


ALL = pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
RUN_PAGES = [page for page in PAGES if any("test" in block.marks for block in blocks_of(page))]


# what runs


@dataclass(slots=True)
class Reader:
    """Somebody who follows a page: its files are written, its workers started, its commands typed."""

    folder: Path
    capture: pytest.CaptureFixture[str]
    namespace: dict[str, Any] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)
    worker: Runtime | None = None
    written: str = ""

    def follow(self, block: Block) -> None:
        if block.language == "text" and "output" in block.marks:
            self.compare(block.text)
        elif "test" not in block.marks:
            return
        elif block.language == "sh":
            self.type_in(block.text)
        else:
            self.execute(block)
            self.serve()

    def execute(self, block: Block) -> None:
        if block.module is None:
            exec(compile(block.text, "<page>", "exec"), self.namespace)  # noqa: S102 - our own pages
            return
        (self.folder / f"{block.module}.py").write_text(block.text, encoding="utf-8")
        sys.modules.pop(block.module, None)
        importlib.invalidate_caches()
        # A page may show a file again, changed: compiled code of the same second would hide that.
        sys.dont_write_bytecode = True
        module = importlib.import_module(block.module)
        self.modules.append(block.module)
        self.namespace |= {name: value for name, value in vars(module).items() if name[:2] != "__"}

    def serve(self) -> None:
        app = self.namespace.pop("turnkeeper", None)
        if isinstance(app, Turnkeeper):
            self.stop_worker()
            self.worker = Runtime(app, lambda change: None)
            self.worker.start()

    def type_in(self, text: str) -> None:
        self.written = ""
        for line in lines_of(text):
            words = shlex.split(line, comments=True)
            if words[:1] == ["turnkeeper"] and words[1] != "worker":
                self.capture.readouterr()
                assert run_command(words[1:]) == 0, f"{line}: {self.capture.readouterr().err}"
                self.written += self.capture.readouterr().out

    def compare(self, text: str) -> None:
        for line in text.splitlines():
            pattern = ".*".join(re.escape(part) for part in line.strip().split("…"))
            assert re.search(pattern, self.written), f"{line!r} is not in:\n{self.written}"

    def stop_worker(self) -> None:
        worker, self.worker = self.worker, None
        if worker is not None:
            worker.stop()

    def leave(self) -> None:
        for value in self.namespace.values():
            if isinstance(value, Client):
                value.close()
        self.stop_worker()
        for module in self.modules:
            sys.modules.pop(module, None)


def lines_of(text: str) -> list[str]:
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.fixture(scope="module")
def practice_url() -> Iterator[str]:
    portal = Portal()
    server = PracticeServer()
    portal.run(server.start())
    yield server.base_url
    portal.run(server.stop())
    portal.close()


@pytest.fixture
def reader(
    migrated_sqlite: str,
    practice_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Reader]:
    settings = {
        "TURNKEEPER_DATABASE_URL": migrated_sqlite,
        "TURNKEEPER_BROKER_URL": "memory://",
        "TURNKEEPER_SWEEP_SECONDS": "0.05",
        "OPENAI_BASE_URL": practice_url,
        "OPENAI_API_KEY": "practice",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    reader = Reader(tmp_path, capsys)
    yield reader
    reader.leave()


@pytest.mark.parametrize("page", RUN_PAGES, ids=names(RUN_PAGES))
def test_the_code_of_a_page_runs(page: Path, reader: Reader) -> None:
    for block in blocks_of(page):
        reader.follow(block)


def test_the_handler_of_the_readme_answers(reader: Reader) -> None:
    for block in blocks_of(ROOT / "README.md"):
        reader.follow(block)

    async def ask() -> dict[str, object]:
        async with reader.namespace["client"]:
            answer: dict[str, object] = await reader.namespace["ask"]("customer-42", "Order 7?", "request-1")
            return answer

    answer = asyncio.run(ask())
    assert answer["status"] == "completed"
    assert "leaves the warehouse today" in str(answer["answer"])


def test_the_readmes_example_is_the_quickstart() -> None:
    shown = [block for block in blocks_of(ROOT / "README.md") if block.module]
    assert [block.module for block in shown] == ["agents", "backend"]
    for block in shown:
        file = ast.parse((ROOT / "examples/quickstart" / f"{block.module}.py").read_text(encoding="utf-8"))
        kept = {ast.unparse(node) for node in file.body} | {_without_docstring(node) for node in file.body}
        for node in ast.parse(block.text).body:
            assert ast.unparse(node) in kept | {_without_docstring(node)} & kept


def _without_docstring(node: ast.stmt) -> str:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
        node = ast.parse(ast.unparse(node)).body[0]
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        node.body = node.body[1:]
    return ast.unparse(node)


# what is said


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
        if block.language == "sh":
            for line in lines_of(block.text):
                check_command(line)


def check_command(line: str) -> None:
    words = shlex.split(line, comments=True)
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
            assert (ROOT / script).is_file(), line
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
def test_places_and_settings_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for place in PLACE.findall(text):
        assert (ROOT / place).exists(), f"{place} is not there"
    known = set(variables()) | {"TURNKEEPER_TEST_SERVERS"}
    for name in re.findall(r"\bTURNKEEPER_[A-Z_]*[A-Z]\b", text):
        assert name in known or any(one.startswith(name) for one in known), f"{name} is no setting"


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
    values = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)}
    return {value for value in values if isinstance(value, str) and re.fullmatch(r"[a-z]+(_[a-z]+)*", value)}


def test_operations_names_every_failure_code() -> None:
    assert {row[0] for row in table("docs/operations.md", "Failure codes")} == codes_in_source()


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
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pages: Callable[[], dict[str, str]] = module.pages
    return pages
