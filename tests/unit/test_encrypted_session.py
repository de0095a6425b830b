"""EncryptedSession: what it leaves out, what it shows through, and runs in sealed sessions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from sqlalchemy import select

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import calls, text
from tests.fakes.wait import eventually
from tests.fakes.worker import running_worker, shown, texts
from turnkeeper_client import AsyncClient
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import InvalidInput, SessionBusy, StoreMismatch
from turnkeeper_storage.items import user_message
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.sessions.encrypted import EncryptedSession
from turnkeeper_storage.sessions.memory import MemorySession
from turnkeeper_storage.sessions.protocol import (
    ReplaceableSession,
    ResumableSession,
    Session,
    SessionSettings,
    TransactionalSession,
    store_name,
)
from turnkeeper_storage.sessions.sqlalchemy import SQLAlchemySession
from turnkeeper_storage.tables import session_items
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.tools import tool

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
KEYS = {"k": OLD}
HELLO, BYE = user_message("hello"), user_message("bye")


@tool(needs_approval=True)
async def refund(order: int) -> str:
    """Refund an order."""
    return f"refunded {order}"


agent = Agent(name="support", model="gpt-5.2", tools=[refund])


@pytest.fixture(scope="module")
def metrics() -> Iterator[InMemoryMetricReader]:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    set_meter_provider(provider)
    yield reader
    provider.shutdown()


def counted(reader: InMemoryMetricReader) -> dict[tuple[object, object], int]:
    """How many items were left out, by reason and store."""
    found: dict[tuple[object, object], int] = {}
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                if metric.name != "turnkeeper.session.unreadable_items":
                    continue
                for point in metric.data.data_points:
                    attributes = point.attributes or {}
                    if isinstance(point, NumberDataPoint):
                        found[attributes["reason"], attributes["store"]] = int(point.value)
    return found


async def test_what_does_not_open_is_left_out_and_counted(metrics: InMemoryMetricReader) -> None:
    inner = MemorySession("s")
    await EncryptedSession(inner, keys={"gone": NEW}).add_items([user_message("lost")])
    await inner.add_items([user_message("plain")])
    session = EncryptedSession(inner, keys=KEYS)
    await session.add_items([HELLO])
    before = counted(metrics)
    assert await session.get_items() == [HELLO]
    assert await session.get_items(2) == [HELLO]
    after = counted(metrics)
    assert after["unknown_key", "memory+encrypted"] - before.get(("unknown_key", "memory+encrypted"), 0) == 1
    assert after["plaintext", "memory+encrypted"] - before.get(("plaintext", "memory+encrypted"), 0) == 2


async def test_pop_removes_what_does_not_open_on_its_way() -> None:
    inner = MemorySession("s")
    session = EncryptedSession(inner, keys=KEYS)
    await session.add_items([HELLO])
    await inner.add_items([user_message("plain")])
    assert await session.pop_item() == HELLO
    assert await inner.get_items() == []
    assert await session.pop_item() is None


async def test_items_from_before_are_shown_when_that_is_wanted() -> None:
    inner = MemorySession("s")
    await inner.add_items([HELLO])
    session = EncryptedSession(inner, keys=KEYS, accept_plaintext=True)
    await session.add_items([BYE])
    assert await session.get_items() == [HELLO, BYE]
    assert BYE not in await inner.get_items()


async def test_keys_are_changed_without_losing_a_word() -> None:
    inner = MemorySession("s")
    await EncryptedSession(inner, keys={"old": OLD}).add_items([HELLO])
    session = EncryptedSession(inner, keys={"old": OLD, "new": NEW})
    await session.add_items([BYE])
    assert await session.get_items() == [HELLO, BYE]
    assert await EncryptedSession(inner, keys={"new": NEW}).get_items() == [BYE]


async def test_items_that_are_too_old_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    session = EncryptedSession(MemorySession("s"), keys=KEYS, ttl_seconds=60)
    with monkeypatch.context() as past:
        past.setattr("turnkeeper_storage.sessions.sealing.time.time", lambda: 1_000_000.0)
        await session.add_items([HELLO])
    await session.add_items([BYE])
    assert await session.get_items() == [BYE]


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf")])
def test_a_time_to_live_that_is_none_is_told(ttl: float) -> None:
    with pytest.raises(InvalidInput, match="ttl_seconds"):
        EncryptedSession(MemorySession("s"), keys=KEYS, ttl_seconds=ttl)


class Plain:
    """A session that can do the four things, and has a word of its own."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.colour = "blue"
        self.is_open = True

    async def get_items(self, limit: int | None = None) -> list[Any]:
        return []

    async def add_items(self, items: list[Any]) -> None: ...

    async def pop_item(self) -> Any:
        return None

    async def clear_session(self) -> None: ...

    async def aclose(self) -> None:
        self.is_open = False


class Marked(Plain):
    async def mark(self) -> str:
        return "here"

    async def items_after(self, mark: str) -> list[Any]:
        return self.sealed

    sealed: list[Any] = []  # noqa: RUF012 - set by the test


@pytest.mark.parametrize("capability", [TransactionalSession, ResumableSession, ReplaceableSession])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_wrapper_can_do_what_the_session_within_can_and_no_more(
    capability: type[Any], depth: int, migrated_sqlite: str
) -> None:
    inners: list[Session] = [
        Plain("s"),
        Marked("s"),
        MemorySession("s"),
        SQLAlchemySession.from_url("s", url=migrated_sqlite),
    ]
    for inner in inners:
        wrapped: Session = inner
        for _ in range(depth):
            wrapped = EncryptedSession(wrapped, keys=KEYS)
        assert isinstance(wrapped, Session)
        assert isinstance(wrapped, capability) == isinstance(inner, capability)
        names = [name for name in vars(capability) if not name.startswith("_")]
        assert all(hasattr(wrapped, name) == hasattr(inner, name) for name in names)


async def test_everything_else_is_the_inner_session_s() -> None:
    inner = Plain("s")
    async with EncryptedSession(EncryptedSession(inner, keys=KEYS), keys=KEYS) as session:
        assert session.colour == "blue"
        assert session.session_id == "s"
        assert session.session_settings is None
        assert store_name(session) == "Plain+encrypted+encrypted"
        with pytest.raises(AttributeError):
            _ = session.nothing_like_it
    assert not inner.is_open
    limited = MemorySession("s", session_settings=SessionSettings(limit=2))
    assert EncryptedSession(limited, keys=KEYS).session_settings == SessionSettings(limit=2)


async def test_what_was_added_after_a_mark_is_shown_open() -> None:
    inner = Marked("s")
    session = EncryptedSession(inner, keys=KEYS)
    hidden = MemorySession("s")
    await EncryptedSession(hidden, keys=KEYS).add_items([HELLO])
    inner.sealed = await hidden.get_items()
    assert await session.mark() == "here"
    assert await session.items_after("here") == [HELLO]


def test_without_the_extra_its_name_is_told() -> None:
    code = (
        "import sys\nsys.modules['cryptography'] = None\n"
        "from turnkeeper import EncryptedSession, MemorySession\n"
        "import asyncio\n"
        "session = EncryptedSession(MemorySession('s'), keys={'k': bytes(32)})\n"
        "try:\n    asyncio.run(session.add_items([{'role': 'user', 'content': 'x'}]))\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    assert done.stdout.startswith("ConfigurationError encrypted sessions need cryptography")
    assert "pip install 'turnkeeper[encryption]'" in done.stdout


class Vault:
    """Sealed sessions in the database of a worker."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)

    def open(self, session_id: str) -> Session:
        return EncryptedSession(SQLAlchemySession(session_id, database=self.database), keys=KEYS)

    async def rows(self) -> list[str]:
        async def read(uow: UnitOfWork) -> list[str]:
            return [row[0] for row in await uow.execute(select(session_items.c.data))]

        return await self.database.read(read)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_runs_read_and_write_a_sealed_history(migrated_url: str, stream: bool) -> None:
    vault = Vault(migrated_url)
    async with (
        ScriptedModel(text("Hello Ana!"), text("You are Ana.")) as model,
        running_worker(migrated_url, model, agents=[agent], session_factory=vault.open) as worker,
        AsyncClient(settings=worker.client.settings, session_factory=vault.open) as client,
    ):
        for message in ("I am Ana.", "Who am I?"):
            run = await worker.client.enqueue("s", message, agent="support", stream=stream)
            assert (await run.wait(10)).status is RunStatus.COMPLETED
        assert shown(model.requests[1]) == ["I am Ana.", "Hello Ana!", "Who am I?"]
        assert texts(await client.session("s").get_items())[-1] == "You are Ana."
        assert (await client.session_info("s")).store == "database+encrypted"
        rows = await vault.rows()
        assert len(rows) == 4
        assert not any("Ana" in row for row in rows)
        with pytest.raises(StoreMismatch):
            await worker.client.session("s").get_items()
        await client.session("s").pop_item()
        await client.session("s").add_items([BYE])
        assert texts(await client.session("s").get_items())[-2:] == ["Who am I?", "bye"]
    await vault.database.aclose()


@pytest.mark.parametrize("ends", ["approve", "cancel"])
async def test_a_run_that_parks_in_a_sealed_session_ends_in_it(migrated_url: str, ends: str) -> None:
    vault = Vault(migrated_url)
    async with (
        ScriptedModel(calls(("refund", {"order": 7})), text("done")) as model,
        running_worker(migrated_url, model, agents=[agent], session_factory=vault.open) as worker,
        AsyncClient(
            settings=worker.client.settings, session_factory=vault.open, doorbell=worker.bell
        ) as client,
    ):
        run = await client.enqueue("s", "Refund order 7", agent="support")
        waiting = await run.wait(10)
        assert texts(await client.session("s").get_items()) == ["Refund order 7", 'refund({"order": 7})']
        with pytest.raises(SessionBusy):
            await client.session("s").add_items([BYE])
        if ends == "approve":
            await client.approve(waiting.approvals[0].id, by="ana")
        else:
            await client.cancel(run.id)

        async def has_ended() -> bool:
            return (await run.get()).status.is_terminal

        await eventually(has_ended)
        rest = ["= refunded 7", "done"] if ends == "approve" else ["= Tool execution was cancelled."]
        told = texts(await client.session("s").get_items())
        assert told[:2] == ["Refund order 7", 'refund({"order": 7})']
        assert len(told) == 2 + len(rest)
        assert not any("efund" in row for row in await vault.rows())
    await vault.database.aclose()


async def test_a_sealed_history_that_nobody_opens_never_reaches_the_model(migrated_sqlite: str) -> None:
    shelf = MemorySession("s")
    await EncryptedSession(shelf, keys=KEYS).add_items([HELLO])
    async with (
        ScriptedModel() as model,
        running_worker(migrated_sqlite, model, agents=[agent], session_factory=lambda id: shelf) as worker,
    ):
        done = await (await worker.client.enqueue("s", "hello", agent="support")).wait(10)
        assert done.error is not None
        assert done.error.code == "history_sealed"
        assert model.requests == []


async def test_a_session_that_began_plain_goes_on_sealed(migrated_url: str) -> None:
    vault = Vault(migrated_url)

    def opened(session_id: str) -> Session:
        inner = SQLAlchemySession(session_id, database=vault.database)
        return EncryptedSession(inner, keys=KEYS, accept_plaintext=True)

    async with ScriptedModel(answer=lambda body: text("hi")) as model:
        async with running_worker(migrated_url, model, agents=[agent]) as worker:
            await (await worker.client.enqueue("s", "one", agent="support")).wait(10)
        async with running_worker(migrated_url, model, agents=[agent], session_factory=opened) as worker:
            done = await (await worker.client.enqueue("s", "two", agent="support")).wait(10)
            assert done.status is RunStatus.COMPLETED
            assert shown(model.requests[1]) == ["one", "hi", "two"]
            assert (await worker.client.session_info("s")).store == "database+encrypted"
        async with running_worker(migrated_url, model, agents=[agent]) as worker:
            done = await (await worker.client.enqueue("s", "three", agent="support")).wait(10)
            assert done.error is not None
            assert done.error.code == "store_mismatch"
    await vault.database.aclose()
