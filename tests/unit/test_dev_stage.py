"""What a `turnkeeper dev` would use, for what the call and the environment say; nothing is started."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from turnkeeper.dev import listening, stage
from turnkeeper.dev.console import Console
from turnkeeper.dev.listening import listen
from turnkeeper.dev.stage import Stage, Wishes, code_folders, plan_stage
from turnkeeper.servers.valkey import NoValkey
from turnkeeper_storage.errors import ConfigurationError

FOLDER = Path("/here/.turnkeeper")
Plan = Callable[..., Stage]


@pytest.fixture
def plan() -> Iterator[Plan]:
    """What would be used, for wishes and an environment."""
    with listen(None) as at:
        yield lambda wishes, environment=None: plan_stage(wishes, FOLDER, environment or {}, at)


def test_without_anything_named_it_uses_servers_of_its_own_and_the_practice_model(plan: Plan) -> None:
    planned = plan(Wishes("agents", workers=2), {"HOME": "/root"})
    assert planned.urls.database_url == "sqlite:////here/.turnkeeper/dev.db"
    assert planned.urls.broker_url.startswith("redis://:")
    assert [part.name for part in (*planned.services, *planned.workers)] == [
        "valkey",
        "practice",
        "api",
        "worker 1",
        "worker 2",
    ]
    env = planned.workers[0].env
    assert env["HOME"] == "/root"
    assert env["TURNKEEPER_DATABASE_URL"] == planned.urls.database_url
    assert env["OPENAI_BASE_URL"].startswith("http://127.0.0.1:")
    assert planned.uses[2].startswith(
        "model: the practice model, a local server that follows rules and is no AI"
    )
    assert planned.owns_database


def test_a_key_or_an_url_of_a_model_is_used_unless_practice_is_wished(plan: Plan) -> None:
    named = {"OPENAI_API_KEY": "k"}
    real = plan(Wishes("agents"), named)
    assert real.uses[2] == "model: OpenAI (calls may cost money; --practice for none)"
    assert real.workers[0].env["OPENAI_API_KEY"] == "k"
    practice = plan(Wishes("agents", practice=True), named)
    assert practice.workers[0].env["OPENAI_API_KEY"] == "practice"
    assert "practice" in [part.name for part in practice.services]


def test_servers_of_the_shell_are_left_alone_and_that_is_said(plan: Plan) -> None:
    named = {
        "TURNKEEPER_DATABASE_URL": "postgresql://production/db",
        "TURNKEEPER_DB_SCHEMA": "s",
        "TURNKEEPER_REDIS_URL": "redis://production/0",
        "CELERY_BROKER_URL": "redis://production/0",
    }
    planned = plan(Wishes("agents"), named)
    assert not any("production" in value for part in planned.workers for value in part.env.values())
    assert "TURNKEEPER_DB_SCHEMA" not in planned.workers[0].env
    assert any(line.startswith("note: TURNKEEPER_DATABASE_URL is set") for line in planned.uses)


def test_servers_that_the_call_names_are_used(plan: Plan) -> None:
    wishes = Wishes("agents", database_url="postgresql://h/db", broker_url="redis://h/0")
    planned = plan(wishes, {"OPENAI_API_KEY": "k", "TURNKEEPER_DB_SCHEMA": "s"})
    assert (planned.urls.database_url, planned.urls.broker_url) == ("postgresql://h/db", "redis://h/0")
    assert [part.name for part in planned.services] == ["api"]
    assert not planned.owns_database
    assert planned.workers[0].env["TURNKEEPER_DB_SCHEMA"] == "s"


def test_the_api_knows_the_servers_and_serves_what_is_listened_on(plan: Plan) -> None:
    planned = plan(Wishes("agents"))
    (api,) = (part for part in planned.services if part.name == "api")
    (descriptor,) = api.handed
    with socket.socket(fileno=os.dup(descriptor)) as handed:
        host, port = handed.getsockname()
    assert api.arguments == ("api", str(descriptor), "agents")
    assert api.env["TURNKEEPER_DATABASE_URL"] == planned.urls.database_url
    assert api.env["TURNKEEPER_BROKER_URL"] == planned.urls.broker_url
    assert (host, planned.page) == ("127.0.0.1", f"http://127.0.0.1:{port}/")


def test_several_that_begin_at_once_have_a_port_each(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        monkeypatch.setattr(listening, "API_PORT", probe.getsockname()[1])
    with listen(None) as first, listen(None) as second:
        assert first.getsockname()[1] == listening.API_PORT
        assert second.getsockname()[1] != listening.API_PORT


def test_a_port_that_was_asked_for_and_is_taken_is_an_error_that_names_it() -> None:
    with listen(None) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigurationError, match=rf"--api-port: cannot listen on 127\.0\.0\.1 port {port} .*use"
        ):
            listen(port)


def test_without_the_extra_there_is_no_api_and_it_is_said(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "API_NEEDS", ("nothing_of_that_name",))
    planned = plan(Wishes("agents"), {})
    assert (planned.page, "api" in {part.name for part in planned.services}) == (None, False)
    assert "api: off, nothing_of_that_name is not installed (pip install 'turnkeeper[api]')" in planned.uses


def test_a_lease_of_the_users_own_is_kept_as_it_is(plan: Plan) -> None:
    planned = plan(Wishes("agents"), {"TURNKEEPER_LEASE_SECONDS": "4"})
    assert planned.workers[0].env["TURNKEEPER_LEASE_SECONDS"] == "4"
    assert "TURNKEEPER_HEARTBEAT_SECONDS" not in planned.workers[0].env


def test_without_a_wheel_for_this_machine_a_broker_must_be_named(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Path:
        raise NoValkey("there is none")

    monkeypatch.setattr(stage, "find_valkey", missing)
    with pytest.raises(ConfigurationError, match="a broker is needed, and there is none; or give"):
        plan(Wishes("agents"), {})
    planned = plan(Wishes("agents"), {"TURNKEEPER_BROKER_URL": "redis://h/0"})
    assert planned.urls.broker_url == "redis://h/0"


def test_no_password_is_shown_by_a_part(plan: Plan) -> None:
    planned = plan(Wishes("agents"), {"OPENAI_API_KEY": "topsecret"})
    assert "topsecret" not in repr(planned.workers) + repr(planned.services)


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
