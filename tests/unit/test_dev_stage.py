"""What a `turnkeeper dev` would use, for what the call and the environment say; nothing is started."""

from __future__ import annotations

import io
import socket
from pathlib import Path

import pytest

from turnkeeper.dev import stage
from turnkeeper.dev.console import Console
from turnkeeper.dev.stage import Wishes, code_folders, plan_stage
from turnkeeper.servers.valkey import NoValkey
from turnkeeper_storage.errors import ConfigurationError

FOLDER = Path("/here/.turnkeeper")


def test_without_anything_named_it_uses_servers_of_its_own_and_the_practice_model() -> None:
    plan = plan_stage(Wishes("agents", workers=2), FOLDER, {"HOME": "/root"})
    assert plan.urls.database_url == "sqlite:////here/.turnkeeper/dev.db"
    assert plan.urls.broker_url.startswith("redis://:")
    assert [part.name for part in (*plan.services, *plan.workers)] == [
        "valkey",
        "practice",
        "api",
        "worker 1",
        "worker 2",
    ]
    env = plan.workers[0].env
    assert env["HOME"] == "/root"
    assert env["TURNKEEPER_DATABASE_URL"] == plan.urls.database_url
    assert env["OPENAI_BASE_URL"].startswith("http://127.0.0.1:")
    assert plan.uses[2].startswith(
        "model: the practice model, a local server that follows rules and is no AI"
    )
    assert plan.owns_database


def test_a_key_or_an_url_of_a_model_is_used_unless_practice_is_wished() -> None:
    named = {"OPENAI_API_KEY": "k"}
    real = plan_stage(Wishes("agents"), FOLDER, named)
    assert real.uses[2] == "model: OpenAI (calls may cost money; --practice for none)"
    assert real.workers[0].env["OPENAI_API_KEY"] == "k"
    practice = plan_stage(Wishes("agents", practice=True), FOLDER, named)
    assert practice.workers[0].env["OPENAI_API_KEY"] == "practice"
    assert "practice" in [part.name for part in practice.services]


def test_servers_of_the_shell_are_left_alone_and_that_is_said() -> None:
    named = {
        "TURNKEEPER_DATABASE_URL": "postgresql://production/db",
        "TURNKEEPER_DB_SCHEMA": "s",
        "TURNKEEPER_REDIS_URL": "redis://production/0",
        "CELERY_BROKER_URL": "redis://production/0",
    }
    plan = plan_stage(Wishes("agents"), FOLDER, named)
    assert not any("production" in value for part in plan.workers for value in part.env.values())
    assert "TURNKEEPER_DB_SCHEMA" not in plan.workers[0].env
    assert any(line.startswith("note: TURNKEEPER_DATABASE_URL is set") for line in plan.uses)


def test_servers_that_the_call_names_are_used() -> None:
    wishes = Wishes("agents", database_url="postgresql://h/db", broker_url="redis://h/0")
    plan = plan_stage(wishes, FOLDER, {"OPENAI_API_KEY": "k", "TURNKEEPER_DB_SCHEMA": "s"})
    assert (plan.urls.database_url, plan.urls.broker_url) == ("postgresql://h/db", "redis://h/0")
    assert [part.name for part in plan.services] == ["api"]
    assert not plan.owns_database
    assert plan.workers[0].env["TURNKEEPER_DB_SCHEMA"] == "s"


def test_the_api_knows_the_servers_and_its_page_is_on_the_loopback() -> None:
    plan = plan_stage(Wishes("agents", api_port=8123), FOLDER, {})
    (api,) = (part for part in plan.services if part.name == "api")
    assert api.arguments == ("api", "8123", "agents")
    assert api.env["TURNKEEPER_DATABASE_URL"] == plan.urls.database_url
    assert api.env["TURNKEEPER_BROKER_URL"] == plan.urls.broker_url
    assert plan.page == "http://127.0.0.1:8123/"


def test_a_port_that_is_taken_is_left_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stage, "API_PORT", port)
            page = plan_stage(Wishes("agents"), FOLDER, {}).page
    assert page is not None
    assert str(port) not in page


def test_without_the_extra_there_is_no_api_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "API_NEEDS", ("nothing_of_that_name",))
    plan = plan_stage(Wishes("agents"), FOLDER, {})
    assert (plan.page, "api" in {part.name for part in plan.services}) == (None, False)
    assert "api: off, nothing_of_that_name is not installed (pip install 'turnkeeper[api]')" in plan.uses


def test_a_lease_of_the_users_own_is_kept_as_it_is() -> None:
    plan = plan_stage(Wishes("agents"), FOLDER, {"TURNKEEPER_LEASE_SECONDS": "4"})
    assert plan.workers[0].env["TURNKEEPER_LEASE_SECONDS"] == "4"
    assert "TURNKEEPER_HEARTBEAT_SECONDS" not in plan.workers[0].env


def test_without_a_wheel_for_this_machine_a_broker_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise NoValkey("there is none")

    monkeypatch.setattr(stage, "find_valkey", missing)
    with pytest.raises(ConfigurationError, match="a broker is needed, and there is none; or give"):
        plan_stage(Wishes("agents"), FOLDER, {})
    plan = plan_stage(Wishes("agents"), FOLDER, {"TURNKEEPER_BROKER_URL": "redis://h/0"})
    assert plan.urls.broker_url == "redis://h/0"


def test_no_password_is_shown_by_a_part() -> None:
    plan = plan_stage(Wishes("agents"), FOLDER, {"OPENAI_API_KEY": "topsecret"})
    assert "topsecret" not in repr(plan.workers) + repr(plan.services)


def test_code_is_watched_here_and_at_the_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "here" / "near.py").write_text("")
    (tmp_path / "there" / "far.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path / "there")
    here = tmp_path / "here"
    assert code_folders("near:app", here) == [here]
    assert code_folders("far", here) == [here, tmp_path / "there"]
    with pytest.raises(ConfigurationError, match="there is no module 'nowhere' here"):
        code_folders("nowhere.sub", here)
    with pytest.raises(ConfigurationError, match="is no name of a module"):
        code_folders("a/b.py", here)


def test_lines_have_names_in_front_and_no_colour_without_a_terminal() -> None:
    stream = io.StringIO()
    console = Console(["worker 1"], stream)
    console.say("hello")
    console.line("worker 1", "")
    assert stream.getvalue() == "dev      | hello\nworker 1 |\n"


def test_a_reader_that_has_gone_breaks_the_console() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    console = Console([], Gone())
    console.say("hello")
    assert console.broken.is_set()
