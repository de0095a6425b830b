"""What the pages show runs: as a reader would do it, on SQLite and the practice model.

A worker runs for each Turnkeeper that a page defines. See `tests.fakes.pages` for how blocks are marked.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.util._once import Once

from tests.fakes.conversations_server import Conversations
from tests.fakes.pages import PAGES, ROOT, Block, blocks_of, lines_of, names
from tests.fakes.unrun import CODE, reason_of
from turnkeeper import Client, Turnkeeper
from turnkeeper.cli.main import run as run_command
from turnkeeper.practice.server import PracticeServer
from turnkeeper_client.portal import Portal
from turnkeeper_worker.runtime import Runtime

RUN_PAGES = [page for page in PAGES if any("test" in block.marks for block in blocks_of(page))]


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
            exec(compile(block.text, "<page>", "exec"), self.namespace)
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


UNRUN = [
    pytest.param(page, block, id=f"{page.relative_to(ROOT).as_posix()}-{number}")
    for page in PAGES
    if page.parent != ROOT / "docs/reference"
    for number, block in enumerate(blocks_of(page), start=1)
    if block.language in CODE and "test" not in block.marks
]


@pytest.mark.parametrize(("page", "block"), UNRUN)
def test_code_that_is_not_run_has_a_reason_that_is_told(page: Path, block: Block) -> None:
    why = reason_of(page.relative_to(ROOT).as_posix(), block)
    assert why is not None, "mark the block `test`, or give it a reason in tests/fakes/unrun.py"
    pytest.skip(f"not run: {why}")


@pytest.fixture(scope="module")
def practice_url() -> Iterator[str]:
    portal = Portal()
    server = PracticeServer()
    Conversations(key="practice").mount(server.app)
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
    # a page may set up an SDK, which a process does once
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
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
        file = (ROOT / "examples/quickstart" / f"{block.module}.py").read_text(encoding="utf-8")
        assert set(statements(block.text)) <= set(statements(file))


def statements(text: str) -> list[str]:
    """The statements of a module as plain code, without comments and docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:]
    return [ast.unparse(node) for node in tree.body]
