"""Sealed items: what opens, where, with which key, and until when."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.items import Item, Json, user_message
from turnkeeper_storage.sessions.sealing import KeyRing, Unreadable, is_sealed

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
RING = KeyRing({"old": OLD, "new": NEW})
SEALER = RING.sealer("default", "s")
HELLO = user_message("hello")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
ITEMS = st.dictionaries(st.text(), JSON, max_size=5).map(lambda rest: {**rest, "type": "message"})


def sealed_text(item: Item) -> str:
    return str(item["content"])


@given(ITEMS)
def test_what_was_sealed_opens_as_it_was(item: dict[str, Json]) -> None:
    sealed = SEALER.seal(item)
    assert is_sealed(sealed)
    assert not is_sealed(item)
    assert SEALER.open(sealed) == item


def test_a_store_may_give_the_text_back_in_parts() -> None:
    sealed = SEALER.seal(HELLO)
    parts = {**sealed, "id": "msg_1", "content": [{"type": "input_text", "text": sealed["content"]}]}
    assert is_sealed(parts)
    assert SEALER.open(parts) == HELLO


def test_no_two_sealed_items_look_alike_and_none_shows_what_is_in_it() -> None:
    first, second = SEALER.seal(HELLO), SEALER.seal(HELLO)
    assert first != second
    raw = base64.urlsafe_b64decode(sealed_text(first).rpartition(".")[2] + "==")
    assert b"hello" not in raw


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=127))
def test_a_text_that_was_changed_anywhere_does_not_open(place: int, change: int) -> None:
    text = sealed_text(SEALER.seal(HELLO))
    at = place % len(text)
    changed = text[:at] + chr(ord(text[at]) ^ change) + text[at + 1 :]
    with pytest.raises(Unreadable):
        SEALER.open({**SEALER.seal(HELLO), "content": changed})


@pytest.mark.parametrize(("tenant", "session_id"), [("default", "t"), ("acme", "s"), ("default", "")])
def test_an_item_opens_in_its_own_session_only(tenant: str, session_id: str) -> None:
    with pytest.raises(Unreadable) as error:
        RING.sealer(tenant, session_id).open(SEALER.seal(HELLO))
    assert error.value.reason == "tampered"


def test_tenant_and_session_are_told_apart() -> None:
    sealed = RING.sealer("a", "bc").seal(HELLO)
    with pytest.raises(Unreadable):
        RING.sealer("ab", "c").open(sealed)


def test_the_current_key_seals_and_old_ones_still_open() -> None:
    before = KeyRing({"old": OLD}).sealer("default", "s").seal(HELLO)
    assert ".old." in sealed_text(before)
    assert ".new." in sealed_text(SEALER.seal(HELLO))
    assert SEALER.open(before) == HELLO
    assert ".old." in sealed_text(KeyRing({"old": OLD, "new": NEW}, "old").sealer("default", "s").seal(HELLO))


def test_a_key_that_is_gone_or_another_of_its_name_opens_nothing() -> None:
    sealed = SEALER.seal(HELLO)
    with pytest.raises(Unreadable) as error:
        KeyRing({"old": OLD}).sealer("default", "s").open(sealed)
    assert error.value.reason == "unknown_key"
    with pytest.raises(Unreadable) as error:
        KeyRing({"new": OLD}).sealer("default", "s").open(sealed)
    assert error.value.reason == "tampered"


def test_an_item_is_too_old_by_the_time_that_was_sealed_with_it() -> None:
    sealed = SEALER.seal(HELLO, at=time.time() - 100)
    assert SEALER.open(sealed, ttl_seconds=200) == HELLO
    with pytest.raises(Unreadable) as error:
        SEALER.open(sealed, ttl_seconds=50)
    assert error.value.reason == "expired"
    head, at, body = sealed_text(sealed).rsplit(".", 2)
    with pytest.raises(Unreadable) as error:
        SEALER.open({**sealed, "content": f"{head}.{int(at) + 99}.{body}"}, ttl_seconds=50)
    assert error.value.reason == "tampered"


def test_a_form_of_another_version_is_told() -> None:
    sealed = SEALER.seal(HELLO)
    later = sealed_text(sealed).replace("sealed.1.", "sealed.2.")
    with pytest.raises(Unreadable) as error:
        SEALER.open({**sealed, "content": later})
    assert error.value.reason == "unknown_form"


def test_what_a_user_writes_is_never_taken_for_a_sealed_item() -> None:
    assert not is_sealed(user_message(sealed_text(SEALER.seal(HELLO))))


@pytest.mark.parametrize(
    "key",
    [OLD, OLD.hex(), base64.b64encode(OLD).decode(), base64.urlsafe_b64encode(OLD).decode().rstrip("=")],
)
def test_a_key_may_be_bytes_or_their_text(key: bytes | str) -> None:
    assert (
        KeyRing({"k": key})
        .sealer("default", "s")
        .open(KeyRing({"k": OLD}).sealer("default", "s").seal(HELLO))
    )


def test_a_key_may_be_a_secret_of_pydantic() -> None:
    ring = KeyRing({"k": SecretStr(OLD.hex())})  # type: ignore[dict-item]
    assert ring.names == ("k",)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "give at least one"),
        ({"k": b"short"}, "key 'k' is not 32 bytes"),
        ({"k": "a passphrase of mine"}, "key 'k' is not 32 bytes"),
        ({"k": "ab" * 31}, "key 'k' is not 32 bytes"),
        ({"a.b": OLD}, "'a.b' is no name"),
        ({"": OLD}, "'' is no name"),
        ({"x" * 65: OLD}, "is no name"),
    ],
)
def test_a_ring_that_cannot_be_is_told_without_a_key(keys: dict[str, bytes | str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as error:
        KeyRing(keys)
    assert "passphrase" not in str(error.value)


def test_a_current_key_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigurationError, match="there is no key 'x'"):
        KeyRing({"k": OLD}, "x")


def test_nothing_shows_a_key() -> None:
    shown = f"{RING!r} {SEALER!r} {RING}"
    assert "old" in shown
    assert OLD.hex() not in shown
    assert repr(OLD) not in shown
