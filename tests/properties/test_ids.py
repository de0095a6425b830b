"""Ids: what goes in is what comes out, and creation orders them."""

from __future__ import annotations

import string

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from turnkeeper_storage import ids
from turnkeeper_storage.errors import InvalidInput, NotFound

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)


@settings(deadline=None)
@given(NAMES, NAMES)
def test_an_id_leads_to_its_session(tenant: str, session_id: str) -> None:
    key = ids.session_key(tenant, session_id)
    assert len(key) == ids.KEY_LENGTH
    assert set(key) <= set(ids.ALPHABET)
    assert ids.key_of(ids.new_run_id(key)) == key
    assert ids.key_of(ids.new_approval_id(key), kind="approval") == key


@settings(deadline=None)
@given(NAMES, NAMES, NAMES, NAMES)
def test_different_sessions_have_different_keys(a: str, b: str, c: str, d: str) -> None:
    assume((a, b) != (c, d))
    assert ids.session_key(a, b) != ids.session_key(c, d)


@settings(deadline=None)
@given(st.text("abc:1", min_size=1, max_size=12), st.integers(1, 11))
def test_where_the_tenant_ends_makes_a_difference(text: str, cut: int) -> None:
    assume(0 < cut < len(text) - 1)
    assert ids.session_key(text[:cut], text[cut:]) != ids.session_key(text[: cut + 1], text[cut + 1 :])


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**47), min_size=2, max_size=20, unique=True))
def test_ids_sort_by_their_time(times: list[int]) -> None:
    made = []
    for milliseconds in sorted(times):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("time.time_ns", lambda at=milliseconds: at * 1_000_000)
            made.append(ids.new_run_id(ids.session_key("t", "s")))
    assert made == sorted(made)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_a_text_that_is_no_id_is_not_found(text: str) -> None:
    with pytest.raises(NotFound):
        ids.key_of(text)


@settings(deadline=None)
@given(st.sampled_from(string.ascii_uppercase + "iIlLoOuU-_ é"), st.integers(0, 41))
def test_a_damaged_id_is_not_found(character: str, place: int) -> None:
    body = ids.new_run_id(ids.session_key("t", "s")).removeprefix("run_")
    with pytest.raises(NotFound):
        ids.key_of(f"run_{body[:place]}{character}{body[place + 1 :]}")


def test_an_id_of_another_kind_is_not_found() -> None:
    with pytest.raises(NotFound):
        ids.key_of(ids.new_approval_id(ids.session_key("t", "s")))


@settings(deadline=None)
@given(st.text())
def test_a_session_id_is_taken_as_it_is_or_refused(text: str) -> None:
    refused: InvalidInput | None = None
    try:
        assert ids.check_session_id(text) == text
    except InvalidInput as error:
        refused = error
    if refused is None:
        assert 1 <= len(text) <= 255
        text.encode()
    else:
        assert refused.field == "session_id"


def test_lease_ids_are_never_the_same() -> None:
    assert len({ids.new_lease_id() for _ in range(1000)}) == 1000
