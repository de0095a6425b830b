"""Keys of the HTTP API through the client, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from tests.fakes.api import make_client
from turnkeeper_client import AsyncClient, Client
from turnkeeper_storage import Scope
from turnkeeper_storage.api_keys import StoredKey, hash_secret, matches, new_key, parse_key
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import InvalidInput, NotFound
from turnkeeper_storage.ids import ALPHABET
from turnkeeper_storage.repositories import api_keys
from turnkeeper_storage.unit_of_work import UnitOfWork


@pytest.fixture
async def client(migrated_url: str) -> AsyncIterator[AsyncClient]:
    async with make_client(migrated_url) as made:
        yield made


async def stored_texts(url: str) -> str:
    """All that the table holds, as one text."""

    async def look(uow: UnitOfWork) -> str:
        rows = (await uow.execute(text("SELECT * FROM turnkeeper_api_keys"))).all()
        return repr([tuple(row) for row in rows])

    database = Database(url)
    try:
        return await database.read(look)
    finally:
        await database.aclose()


async def test_a_key_opens_what_it_was_made_for(client: AsyncClient) -> None:
    made = await client.create_api_key("ana@shop.example", ["runs", Scope.SESSIONS])
    found = await client.check_api_key(made.text)
    assert found is not None
    assert (found.tenant, found.name) == ("default", "ana@shop.example")
    assert sorted(found.scopes) == ["runs", "sessions"]
    assert found.created_at is not None


async def test_the_secret_is_stored_and_shown_nowhere(client: AsyncClient, migrated_url: str) -> None:
    made = await client.create_api_key("ana", ["runs"])
    parsed = parse_key(made.text)
    assert parsed is not None
    secret = parsed[1]
    assert secret not in await stored_texts(migrated_url)
    assert hash_secret(secret) in await stored_texts(migrated_url)
    listed = await client.api_keys()
    assert secret not in repr((made, listed, [key.as_json() for key in listed]))


async def test_a_wrong_secret_and_a_wrong_id_open_nothing(client: AsyncClient) -> None:
    made = await client.create_api_key("ana", ["runs"])
    other = await client.create_api_key("ben", ["runs"])
    _, id_, secret = made.text.split("_")
    _, _, others = other.text.split("_")
    last = "0" if secret[-1] != "0" else "1"
    for text_ in (
        f"tk_{id_}_{secret[:-1]}{last}",
        f"tk_{id_}_{others}",
        f"tk_{'0' * 16}_{secret}",
        f"tk_{id_}_{secret} ",
        f"tk_{id_}_{secret.upper()}",
        f"tk_{id_}",
        "",
        "tk_\ud800",
    ):
        assert await client.check_api_key(text_) is None


async def test_a_revoked_key_opens_nothing_and_stays_listed(client: AsyncClient) -> None:
    made = await client.create_api_key("ana", ["runs"])
    revoked = await client.revoke_api_key(made.key.id)
    assert revoked.revoked_at is not None
    assert await client.check_api_key(made.text) is None
    assert await client.revoke_api_key(made.key.id) == revoked
    assert await client.api_keys() == [revoked]


async def test_its_use_is_noted_once_and_not_with_every_request(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await client.create_api_key("ana", ["runs"])
    assert (await client.api_keys())[0].last_used_at is None
    await client.check_api_key(made.text)
    (used,) = await client.api_keys()
    assert used.last_used_at is not None

    async def touched(uow: UnitOfWork, key_id: str) -> None:
        raise AssertionError("noted again")

    monkeypatch.setattr(api_keys, "touch", touched)
    await client.check_api_key(made.text)
    assert await client.api_keys() == [used]


async def test_a_tenant_lists_and_revokes_its_own_keys_only(client: AsyncClient) -> None:
    made = await client.create_api_key("ana", ["runs"])
    other = client.for_tenant("other")
    assert await other.api_keys() == []
    with pytest.raises(NotFound):
        await other.revoke_api_key(made.key.id)
    # but whose it is, is found out by it alone
    found = await other.check_api_key(made.text)
    assert found is not None
    assert found.tenant == "default"


@pytest.mark.parametrize("scopes", [[], ["everything"], ["runs", "Runs"], [""]], ids=str)
async def test_scopes_that_are_none_are_named(client: AsyncClient, scopes: list[str]) -> None:
    with pytest.raises(InvalidInput, match=r"scopes: .*use some of: runs, sessions"):
        await client.create_api_key("ana", scopes)
    assert await client.api_keys() == []


def test_the_client_without_await_does_the_same(migrated_sqlite: str) -> None:
    with Client(database_url=migrated_sqlite, broker_url="memory://") as client:
        made = client.create_api_key("ana", ["admin"])
        assert client.check_api_key(made.text) == client.api_keys()[0].__class__(
            made.key.id, "default", "ana", frozenset({Scope.ADMIN}), made.key.created_at
        )
        assert client.revoke_api_key(made.key.id).revoked_at is not None


def test_what_is_compared_is_the_hash_also_for_a_key_that_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("turnkeeper_storage.api_keys.hmac.compare_digest", compare)
    key, text_, secret_hash = new_key("default", "ana", ["runs"])
    secret = text_.rpartition("_")[2]
    assert matches(StoredKey(key, secret_hash, is_stale=False), secret)
    assert not matches(None, secret)
    assert [len(one) for pair in compared for one in pair] == [64] * 4
    assert set(secret) <= set(ALPHABET)
