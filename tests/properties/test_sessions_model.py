"""Every session class against a plain list: whatever is done to a session, it reads as the list does."""

from __future__ import annotations

import asyncio
import copy
import itertools
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.conformance.conftest import shared_postgres
from tests.fakes import stores
from tests.fakes.stores import Open, Place
from turnkeeper_storage.items import Item, Json, user_message
from turnkeeper_storage.sessions.protocol import ReplaceableSession, Session, SessionSettings

__all__ = ["shared_postgres"]  # fixtures
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
# what a text may be in a session of any kind
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
MESSAGES = TEXTS.map(user_message)
ANY = st.dictionaries(st.text(max_size=5), JSON, max_size=4).map(lambda rest: {**rest, "type": "odd"})
LIMIT = 3
_numbers = itertools.count()


class SessionMachine(RuleBasedStateMachine):
    """Two sessions of one store, `a` with a limit in its settings, and the lists that they should be."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.sessions: dict[str, Session] = {}
        self.model: dict[str, list[Item]] = {}

    @initialize()
    def open(self) -> None:
        self.opens: Open = self.run(self.stack.enter_async_context(self.place.opened()))
        number = next(_numbers)
        self.names = {name: f"{name}-{number}" for name in "ab"}
        for name in "ab":
            self.sessions[name] = self.opened(name)
            self.model[name] = []

    def opened(self, name: str) -> Session:
        limits = {"a": SessionSettings(limit=LIMIT), "b": None}
        session: Session = self.opens(self.names[name], session_settings=limits[name])
        return session

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    @rule(name=st.sampled_from("ab"), items=st.lists(MESSAGES, max_size=25))
    def add_messages(self, name: str, items: list[Item]) -> None:
        self.add(name, items)

    @precondition(lambda self: self.place.store.takes_any_item)
    @rule(name=st.sampled_from("ab"), items=st.lists(ANY, max_size=3))
    def add_anything(self, name: str, items: list[Item]) -> None:
        self.add(name, items)

    def add(self, name: str, items: list[Item]) -> None:
        self.model[name] += copy.deepcopy(items)
        self.run(self.sessions[name].add_items(items))
        for item in items:  # what the caller does to them later is his own affair
            item["changed"] = True

    @rule(name=st.sampled_from("ab"), limit=st.sampled_from([None, 0, 1, 2, 7, 99]))
    def read(self, name: str, limit: int | None) -> None:
        found: list[Item] = self.run(self.sessions[name].get_items(limit))
        wanted = LIMIT if limit is None and name == "a" else limit
        model = self.model[name]
        assert found == (model if wanted is None else model[len(model) - min(wanted, len(model)) :])
        for item in found:
            item["changed"] = True

    @rule(name=st.sampled_from("ab"))
    def pop(self, name: str) -> None:
        expected: Json = self.model[name].pop() if self.model[name] else None
        assert self.run(self.sessions[name].pop_item()) == expected

    @rule(name=st.sampled_from("ab"))
    def clear(self, name: str) -> None:
        self.run(self.sessions[name].clear_session())
        self.model[name] = []

    @rule(name=st.sampled_from("ab"), items=st.lists(MESSAGES, max_size=5))
    def replace(self, name: str, items: list[Item]) -> None:
        session = self.sessions[name]
        if isinstance(session, ReplaceableSession):
            self.run(session.replace_items(items))
            self.model[name] = copy.deepcopy(items)

    @precondition(lambda self: "MemorySession" not in repr(innermost(self.sessions["a"])))
    @rule(name=st.sampled_from("ab"))
    def open_again(self, name: str) -> None:
        self.sessions[name] = self.opened(name)

    def teardown(self) -> None:
        try:
            for name in self.sessions:
                assert self.run(self.sessions[name].get_items(10**6)) == self.model[name]
        finally:
            self.run(self.stack.aclose())
            self.runner.close()


def innermost(session: Any) -> object:
    """The session within all wrappers."""
    while "_inner" in vars(session):
        session = session._inner
    return session


@pytest.fixture(params=stores.params())
def place(request: pytest.FixtureRequest) -> Place:
    return stores.place(request.param, request)


def test_a_session_is_the_list_that_it_stands_for(place: Place) -> None:
    class Machine(SessionMachine):
        def __init__(self) -> None:
            super().__init__(place)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=12,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
