"""What `turnkeeper chat` says before anybody is asked, and how it reads and shows."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from turnkeeper.chat import main as chat_main
from turnkeeper.chat.lines import PipedLines, lines_of_stdin
from turnkeeper.chat.screen import LONG, Screen
from turnkeeper.cli.main import run
from turnkeeper_storage.database import Database
from turnkeeper_storage.model import AgentRecord
from turnkeeper_storage.repositories import agents


@pytest.fixture
def nobody(migrated_sqlite: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A migrated database without agents, and no terminal; the database's URL."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TURNKEEPER_DATABASE_URL", migrated_sqlite)
    monkeypatch.setenv("TURNKEEPER_BROKER_URL", "memory://")
    monkeypatch.setattr(chat_main, "REGISTER_SECONDS", 0.0)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    return migrated_sqlite


async def _register(url: str, *names: str) -> None:
    database = Database(url)
    records = [AgentRecord(name, "d", "turnkeeper", []) for name in names]
    await database.transact(lambda uow: agents.register(uow, records))
    await database.aclose()


def test_without_any_agent_it_says_how_to_start_one(nobody: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["chat", "s"]) == 2
    assert "no worker has registered an agent: start `turnkeeper dev MODULE` first" in capsys.readouterr().err


async def test_of_several_agents_one_must_be_named(nobody: str, capsys: pytest.CaptureFixture[str]) -> None:
    await _register(nobody, "support", "sales")
    assert run(["chat", "s"]) == 2
    assert "--agent: is needed; use one of: sales, support" in capsys.readouterr().err


async def test_an_agent_that_is_not_there_is_refused_with_the_names_of_those_that_are(
    nobody: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await _register(nobody, "support")
    assert run(["chat", "s", "--agent", "sales", "--message", "hello"]) != 0
    assert "support" in capsys.readouterr().err


async def test_no_lines_at_all_are_a_conversation_too(nobody: str) -> None:
    await _register(nobody, "support")
    assert run(["chat", "s"]) == 0


def test_piped_lines_come_without_their_ends_and_the_last_needs_none() -> None:
    lines = PipedLines(io.StringIO("one\r\n\ntwo"))
    assert [lines.read("> ") for _ in range(4)] == ["one", "", "two", None]


def test_standard_input_that_is_no_terminal_gets_no_prompt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n"))
    lines = lines_of_stdin()
    assert lines.read("> ") == "hello"
    assert not lines.is_person
    assert capsys.readouterr().out == ""


def test_a_note_begins_a_line_and_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.piece("half ")
    screen.piece("an answer")
    screen.note("a note")
    screen.line("the answer")
    told = capsys.readouterr()
    assert told.out == "half an answer\nthe answer\n"
    assert told.err == "a note\n"


def test_nothing_that_a_model_says_drives_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.piece("\x1b[2Jhello")
    screen.note("\x1b]0;title\x07" + "x" * 2 * LONG)
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err
    assert len(told.err) == LONG + 1
