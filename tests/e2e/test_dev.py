"""`turnkeeper dev` on real processes: no server and no key named anywhere."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.fakes.dev import Dev, write_agents
from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import text
from tests.fakes.wait import eventually, eventually_sync
from turnkeeper_client import AsyncClient

READY = "| ready. In another terminal"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Dev]]:
    """Starts `turnkeeper dev agents` in a folder of the test; what still runs is killed."""
    started: list[Dev] = []

    def begin(*options: str, env: dict[str, str] | None = None, module: str = "agents") -> Dev:
        dev = Dev(tmp_path, *options, env=env, module=module)
        started.append(dev)
        return dev

    write_agents(tmp_path)
    yield begin
    for dev in started:
        dev.end()


def _urls(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / ".turnkeeper" / "dev.json").read_text())
    return found


def test_other_commands_in_the_folder_find_its_servers_and_only_there(
    start: Callable[..., Dev], tmp_path: Path
) -> None:
    dev = start()
    dev.wait_for(READY)
    assert "model: the practice model, a local server that follows rules and is no AI" in dev.output
    asked = dev.command("runs", "enqueue", "ana", "Where is order 7?", "--agent", "support", "--wait", "30")
    assert "order 7 is on its way" in asked.stdout, asked.stderr
    listed = dev.command("sessions", "list", "--json")
    assert [one["id"] for one in json.loads(listed.stdout)["sessions"]] == ["ana"]
    elsewhere = dev.command("runs", "list", env={"TURNKEEPER_DATABASE_URL": f"sqlite:///{tmp_path}/no.db"})
    assert elsewhere.returncode == 1
    assert stat.S_IMODE((tmp_path / ".turnkeeper" / "dev.json").stat().st_mode) == 0o600
    second = dev.command("dev", "agents")
    assert second.returncode == 1
    assert "another `turnkeeper dev` (pid " in second.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_within_seconds_and_nothing_is_left(
    start: Callable[..., Dev], tmp_path: Path, number: signal.Signals
) -> None:
    dev = start("--workers", "2")
    dev.wait_for(READY)
    dev.signal(number)
    assert dev.code_within(20) == 0, dev.output
    assert dev.left() == []
    assert "Traceback" not in dev.output
    assert not (tmp_path / ".turnkeeper" / "dev.json").exists()


def test_what_was_said_and_what_waits_is_there_at_the_next_start(start: Callable[..., Dev]) -> None:
    dev = start()
    dev.wait_for(READY)
    asked = dev.command("chat", "ana", stdin="Refund order 7\n")
    assert "the run waits" in asked.stderr
    dev.signal(signal.SIGINT)
    assert dev.code_within(20) == 0, dev.output
    again = start()
    again.wait_for(READY)
    done = again.command("chat", "ana", stdin="y\n")
    assert "order 7 was refunded" in done.stdout, done.stderr


def test_when_it_is_killed_its_children_end_too(start: Callable[..., Dev], tmp_path: Path) -> None:
    dev = start()
    dev.wait_for(READY)
    dev.signal(signal.SIGKILL)
    eventually_sync(lambda: dev.left() == [], within=20)
    stale = dev.command("runs", "list")
    assert stale.returncode == 1, "the servers that dev.json names are gone"
    again = start()
    again.wait_for(READY)


def test_a_worker_that_is_killed_is_said_and_started_again(start: Callable[..., Dev]) -> None:
    dev = start()
    dev.wait_for(READY)
    (victim,) = dev.workers()
    victim.kill()
    dev.wait_for("worker was ended by SIGKILL; it starts again in 0.5 s")
    dev.wait_for(" ready.\n", times=2)
    assert [one.pid for one in dev.workers()] != [victim.pid]
    asked = dev.command("runs", "enqueue", "ana", "Where is order 7?", "--agent", "support", "--wait", "30")
    assert "order 7 is on its way" in asked.stdout, asked.stderr


def test_who_calls_its_api_while_that_is_started_again_is_answered_late_and_not_refused(
    start: Callable[..., Dev],
) -> None:
    dev = start()
    dev.wait_for(READY)
    (page,) = set(re.findall(r"in a browser: (\S+)", dev.output))
    (victim,) = dev.parts("api")
    victim.kill()
    victim.wait(10)
    assert httpx2.get(f"{page}livez", timeout=40).status_code == 200
    assert "api was ended by SIGKILL; it starts again in 0.5 s" in dev.output


async def test_changed_code_is_loaded_while_a_run_is_in_work_and_the_run_goes_on_with_it(
    start: Callable[..., Dev], tmp_path: Path
) -> None:
    async with ScriptedModel(answer=lambda body: text(str(body.get("instructions")))) as model:
        write_agents(tmp_path, "the old ones")
        dev = start(env={"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "k"})
        await asyncio.to_thread(dev.wait_for, READY)
        urls = _urls(tmp_path)
        async with AsyncClient(database_url=urls["database_url"], broker_url=urls["broker_url"]) as client:
            model.hold()
            run = await client.enqueue("ana", "Hello", agent="support")
            await model.wait_for(1, within=20)
            write_agents(tmp_path, "the new ones")
            await asyncio.to_thread(dev.wait_for, "agents.py changed", within=20)
            await asyncio.to_thread(dev.wait_for, " ready.\n", times=2)
            await model.wait_for(2, within=30)
            model.release()
            snapshot = await run.wait(timeout=30)
            assert snapshot.output == "the new ones"
            items = await client.session("ana").get_items()
            assert [item.get("role") for item in items] == ["user", "assistant"]
            await eventually(lambda: len(dev.workers()) == 1, within=20)


async def test_code_that_cannot_be_loaded_waits_for_the_next_change(
    start: Callable[..., Dev], tmp_path: Path
) -> None:
    dev = start()
    await asyncio.to_thread(dev.wait_for, READY)
    good = (tmp_path / "agents.py").read_text()
    (tmp_path / "agents.py").write_text(good + "\nraise RuntimeError('half written')\n")
    await asyncio.to_thread(dev.wait_for, "it starts again when the code changes")
    assert "RuntimeError: half written" in dev.output
    (tmp_path / "agents.py").write_text(good)
    await asyncio.to_thread(dev.wait_for, " ready.\n", times=2)


def test_without_reload_code_that_cannot_be_loaded_ends_it(start: Callable[..., Dev], tmp_path: Path) -> None:
    (tmp_path / "agents.py").write_text("import nothing_of_that_name\n")
    dev = start("--no-reload")
    assert dev.code_within(40) == 1, dev.output
    assert "imports 'nothing_of_that_name', which is not installed" in dev.output
    assert dev.left() == []


def test_a_second_ctrl_c_kills(start: Callable[..., Dev], tmp_path: Path) -> None:
    (tmp_path / "agents.py").write_text(
        (tmp_path / "agents.py").read_text()
        + "\nimport signal, threading\n"
        + "threading.Thread(target=threading.Event().wait).start()\n"
    )
    dev = start()
    dev.wait_for(READY)
    dev.signal(signal.SIGINT)
    dev.wait_for("stopping")
    dev.signal(signal.SIGINT)
    assert dev.code_within(10) == 130, dev.output
    assert dev.left() == []


def test_a_module_that_is_not_there_is_told_at_once(start: Callable[..., Dev]) -> None:
    dev = start(module="nowhere")
    assert dev.code_within(20) == 2
    assert "MODULE: there is no module 'nowhere' here; run this where nowhere.py is" in dev.output
