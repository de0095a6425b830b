"""`turnkeeper worker`: which Turnkeeper instance it finds, and what it says when it finds none."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.processes import Processes
from turnkeeper.cli.loading import load_app
from turnkeeper.cli.main import run
from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_worker import command
from turnkeeper_worker.app import Turnkeeper

AGENTS = """
from turnkeeper import Agent, Turnkeeper
support = Agent(name="support", model="m")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with the path and the environment as they were afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    for name in ("TURNKEEPER_QUEUE", "TURNKEEPER_CONCURRENCY"):
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.startswith("agents_"):
            del sys.modules[name]


def _module(folder: Path, code: str) -> str:
    name = f"agents_{secrets.token_hex(4)}"
    (folder / f"{name}.py").write_text(AGENTS + code)
    return name


def test_the_one_instance_of_a_module_is_found_by_whatever_name(folder: Path) -> None:
    name = _module(folder, "mine = also_mine = Turnkeeper(agents=[support])")
    assert list(load_app(name).agents) == ["support"]


def test_an_instance_is_named_after_a_colon(folder: Path) -> None:
    name = _module(folder, "a = Turnkeeper(agents=[support])\nb = Turnkeeper(agents=[support], queue='b')")
    assert load_app(f"{name}:b").settings.queue == "b"


def test_several_instances_ask_for_a_name(folder: Path) -> None:
    name = _module(folder, "a = Turnkeeper(agents=[support])\nb = Turnkeeper(agents=[support])")
    with pytest.raises(ConfigurationError, match=f"several Turnkeeper instances \\(a, b\\).*{name}:a"):
        load_app(name)


def test_a_module_without_an_instance_says_what_to_write(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="write `turnkeeper = Turnkeeper"):
        load_app(_module(folder, ""))


@pytest.mark.parametrize(("attribute", "told"), [("none", "is missing"), ("support", "is Agent")])
def test_an_attribute_that_is_no_instance_is_told(folder: Path, attribute: str, told: str) -> None:
    name = _module(folder, "")
    with pytest.raises(ConfigurationError, match=told):
        load_app(f"{name}:{attribute}")


@pytest.mark.parametrize("name", ["no_such_module", "no_such.module", "agents.py", "./agents", "", ":x"])
def test_what_is_no_module_is_told(folder: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="MODULE"):
        load_app(name)


def test_a_module_that_lacks_a_library_names_the_library(folder: Path) -> None:
    name = _module(folder, "import no_such_library")
    with pytest.raises(ConfigurationError, match="imports 'no_such_library'"):
        load_app(name)


def test_a_missing_extra_is_one_line_and_no_traceback(folder: Path, processes: Processes) -> None:
    code = (
        "import os, sys; os.chdir(sys.argv[2]); sys.modules['griffe'] = None; "
        "from turnkeeper.cli.main import run; sys.exit(run(['worker', sys.argv[1]]))"
    )
    process = processes(sys.executable, "-c", code, _module(folder, ""), str(folder))
    assert process.wait(30) == 2
    assert "pip install 'turnkeeper[worker]'" in process.log
    assert process.log.count("\n") == 1


def test_a_worker_is_run_with_the_options_of_the_command_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, object]] = []

    def run_worker(app: Turnkeeper, **options: object) -> int:
        asked.append({"queue": app.settings.queue, **options})
        return 7

    monkeypatch.setattr(command, "run_worker", run_worker)
    name = _module(folder, "mine = Turnkeeper(agents=[support])")
    assert run(["worker", name, "--queue", "bells", "--loglevel", "DEBUG", "--no-ingest"]) == 7
    assert asked == [
        {"queue": "bells", "loglevel": "debug", "hostname": None, "ingest": False, "quiet": False}
    ]


def test_options_of_the_worker_stand_over_the_environment(folder: Path) -> None:
    name = _module(folder, "mine = Turnkeeper(agents=[support])")
    settings = load_app(name, queue="bells", concurrency=7).settings
    assert (settings.queue, settings.concurrency) == ("bells", 7)


def test_an_option_that_the_module_overrules_is_refused_not_ignored(folder: Path) -> None:
    name = _module(folder, "mine = Turnkeeper(agents=[support], queue='mine')")
    with pytest.raises(ConfigurationError, match="--queue"):
        load_app(name, queue="bells")
