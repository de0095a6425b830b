"""What a client refuses before it opens a database: field, value, remedy."""

from __future__ import annotations

from typing import Any

import pytest

from turnkeeper_client import AsyncClient, Client
from turnkeeper_storage.errors import ConfigurationError, InputTooLarge, InvalidInput, NotFound
from turnkeeper_storage.settings import Settings

# Nothing listens there: whatever is refused is refused without a database.
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
GOOD: dict[str, Any] = {"session_id": "s", "input": "hello", "agent": "support"}

BAD = [
    ({"session_id": ""}, "session_id", "empty"),
    ({"session_id": "x" * 256}, "session_id", "256 characters"),
    ({"session_id": "a\x00b"}, "session_id", "control characters"),
    ({"session_id": "a\nb"}, "session_id", "control characters"),
    ({"session_id": "\ud800"}, "session_id", "control characters"),
    ({"session_id": 7}, "session_id", "int"),
    ({"input": ""}, "input", "empty text"),
    ({"input": "  \n"}, "input", "empty text"),
    ({"input": []}, "input", "empty list"),
    ({"input": None}, "input", "NoneType"),
    ({"input": b"hello"}, "input", "bytes"),
    ({"input": ["hello"]}, "input[0]", "str"),
    ({"input": [{"text": "hello"}]}, "input[0]", "no item"),
    ({"input": [{"role": "user", "content": float("nan")}]}, "input", "NaN"),
    ({"input": [{"role": "user", "content": {"a", "b"}}]}, "input", "no JSON form"),
    ({"input": [{"role": "user", "content": {1: "one"}}]}, "input", "key of type int"),
    ({"agent": ""}, "agent", "empty"),
    ({"agent": None}, "agent", "NoneType"),
    ({"agent": "a\x00"}, "agent", "control characters"),
    ({"idempotency_key": ""}, "idempotency_key", "empty"),
    ({"idempotency_key": "k" * 256}, "idempotency_key", "256 characters"),
    ({"idempotency_key": "a\tb"}, "idempotency_key", "control characters"),
    ({"max_turns": 0}, "max_turns", "0"),
    ({"max_turns": -1}, "max_turns", "-1"),
    ({"max_turns": 1.5}, "max_turns", "float"),
    ({"max_turns": True}, "max_turns", "bool"),
    ({"stream": "yes"}, "stream", "str"),
    ({"metadata": []}, "metadata", "list"),
    ({"metadata": {"when": object()}}, "metadata", "no JSON form"),
    ({"metadata": {"blob": "x" * 17_000}}, "metadata", "over the limit"),
]


@pytest.mark.parametrize(("change", "field", "value"), BAD, ids=lambda part: repr(part)[:40])
async def test_a_wrong_field_of_an_enqueue_is_named(change: dict[str, Any], field: str, value: str) -> None:
    async with AsyncClient(database_url=NOWHERE) as client:
        with pytest.raises(InvalidInput) as caught:
            await client.enqueue(**{**GOOD, **change})
    assert caught.value.field == field
    assert value in caught.value.value
    assert caught.value.remedy


async def test_an_error_of_the_edge_never_holds_what_was_sent() -> None:
    async with AsyncClient(database_url=NOWHERE) as client:
        with pytest.raises(InvalidInput) as caught:
            await client.enqueue(
                "s", [{"role": "user", "content": {"secret-word": b"secret-word"}}], agent="a"
            )
    assert "secret-word" not in str(caught.value)


async def test_an_input_over_the_limit_tells_its_size_and_the_limit() -> None:
    async with AsyncClient(database_url=NOWHERE, settings=Settings(max_input_bytes=100)) as client:
        with pytest.raises(InputTooLarge) as caught:
            await client.enqueue("s", "ä" * 100, agent="support")
    assert (caught.value.field, caught.value.limit) == ("input", 100)
    assert caught.value.size > 200


@pytest.mark.parametrize("timeout", [-1, float("nan"), "5", True])
async def test_a_time_out_that_is_none_is_refused(timeout: Any) -> None:
    async with AsyncClient(database_url=NOWHERE) as client:
        with pytest.raises(InvalidInput, match="timeout"):
            await client.wait("run_" + "0" * 42, timeout=timeout)


@pytest.mark.parametrize("run_id", ["", "run_", "run_" + "U" * 42, "apr_" + "0" * 42, "x\x00"])
async def test_a_malformed_run_id_is_not_found(run_id: str) -> None:
    async with AsyncClient(database_url=NOWHERE) as client:
        for look in (client.get, client.wait, client.cancel):
            with pytest.raises(NotFound):
                await look(run_id)


async def test_a_run_id_that_is_no_text_is_refused() -> None:
    async with AsyncClient(database_url=NOWHERE) as client:
        with pytest.raises(InvalidInput, match="run_id: is int"):
            await client.get(7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("filters", "field"),
    [
        ({"session_id": ""}, "session_id"),
        ({"status": "done"}, "status"),
        ({"agent": "a\x00"}, "agent"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"limit": "5"}, "limit"),
        ({"cursor": "5"}, "cursor"),
    ],
)
async def test_a_wrong_filter_of_runs_is_named(filters: dict[str, Any], field: str) -> None:
    async with AsyncClient(database_url=NOWHERE) as client:
        with pytest.raises(InvalidInput) as caught:
            await client.runs(**filters)
    assert caught.value.field == field


async def test_a_wrong_status_lists_the_right_ones() -> None:
    async with AsyncClient(database_url=NOWHERE) as client:
        with pytest.raises(InvalidInput, match="queued, running, awaiting_approval, completed"):
            await client.runs(status="done")


@pytest.mark.parametrize("limit", [-1, "3", True])
async def test_a_wrong_window_of_a_session_is_refused(limit: Any) -> None:
    async with AsyncClient(database_url=NOWHERE) as client:
        with pytest.raises(InvalidInput, match="limit"):
            await client.session("s").get_items(limit)


@pytest.mark.parametrize("items", ["text", {"role": "user", "content": "x"}, [7], [{"role": "user"}]])
async def test_what_is_no_list_of_items_is_not_added(items: Any) -> None:
    async with AsyncClient(database_url=NOWHERE) as client:
        with pytest.raises(InvalidInput, match="items"):
            await client.session("s").add_items(items)


def test_a_connection_of_the_other_kind_is_refused_with_the_remedy() -> None:
    with Client(database_url=NOWHERE) as client, pytest.raises(InvalidInput, match="AsyncClient takes"):
        client.enqueue("s", "hello", agent="support", connection=object())  # type: ignore[arg-type]


async def test_an_async_client_wants_an_async_connection() -> None:
    async with AsyncClient(database_url=NOWHERE) as client:
        with pytest.raises(InvalidInput, match="Client takes a Connection"):
            await client.enqueue("s", "hello", agent="support", connection=object())  # type: ignore[arg-type]


def test_a_wrong_setting_is_told_when_the_client_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNKEEPER_POOL_SIZE", "none")
    with pytest.raises(ConfigurationError, match="TURNKEEPER_POOL_SIZE"):
        Client()


async def test_a_session_factory_that_takes_no_tenant_serves_only_the_default_one() -> None:
    from turnkeeper_storage import MemorySession

    async with AsyncClient(database_url=NOWHERE, tenant="acme", session_factory=MemorySession) as client:
        with pytest.raises(ConfigurationError, match="tenant"):
            await client.session("s").get_items()
