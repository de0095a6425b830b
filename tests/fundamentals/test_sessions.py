"""Sessions: a conversation is an id and an ordered list of items.

    session = SQLAlchemySession.from_url("customer-42", url="postgresql://…", create_tables=True)

Read from top to bottom: each test is one thing to know.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from examples.file_session import FileSession
from turnkeeper_storage import Item, MemorySession, Session, SessionSettings, SQLAlchemySession

HELLO: Item = {"role": "user", "content": "Hello, where is order 7?"}
ANSWER: Item = {"type": "message", "role": "assistant", "content": "On its way."}
THANKS: Item = {"role": "user", "content": "Thank you!"}


@pytest.fixture
async def session(database_url: str) -> AsyncIterator[SQLAlchemySession]:
    """A session is opened by its id; its tables are made when they are not there."""
    opened = SQLAlchemySession.from_url("customer-42", url=database_url, create_tables=True)
    async with opened:
        yield opened


async def test_a_new_session_is_empty(session: SQLAlchemySession) -> None:
    assert session.session_id == "customer-42"
    assert await session.get_items() == []


async def test_items_come_back_in_the_order_in_which_they_were_added(session: SQLAlchemySession) -> None:
    await session.add_items([HELLO, ANSWER])
    await session.add_items([THANKS])
    assert await session.get_items() == [HELLO, ANSWER, THANKS]


async def test_a_limit_gives_the_newest_items(session: SQLAlchemySession) -> None:
    await session.add_items([HELLO, ANSWER, THANKS])
    assert await session.get_items(limit=2) == [ANSWER, THANKS]


async def test_pop_takes_the_newest_item_back(session: SQLAlchemySession) -> None:
    """What was added is what is returned: the way to undo a message that the user wants to edit."""
    await session.add_items([HELLO, ANSWER])
    assert await session.pop_item() == ANSWER
    assert await session.get_items() == [HELLO]


async def test_pop_of_an_empty_session_is_none(session: SQLAlchemySession) -> None:
    assert await session.pop_item() is None


async def test_clear_starts_the_conversation_anew(session: SQLAlchemySession) -> None:
    await session.add_items([HELLO, ANSWER])
    await session.clear_session()
    assert await session.get_items() == []


async def test_the_same_id_opens_the_same_conversation_again(
    session: SQLAlchemySession, database_url: str
) -> None:
    await session.add_items([HELLO])
    async with SQLAlchemySession.from_url("customer-42", url=database_url) as again:
        assert await again.get_items() == [HELLO]


async def test_a_session_for_trials_needs_no_database() -> None:
    session = MemorySession("customer-42", session_settings=SessionSettings(limit=1))
    await session.add_items([HELLO, ANSWER])
    assert await session.get_items() == [ANSWER]


async def test_a_class_of_your_own_is_a_session_when_it_has_the_methods(tmp_path: Path) -> None:
    """See examples/file_session.py."""
    session = FileSession("customer-42", tmp_path)
    assert isinstance(session, Session)
    await session.add_items([HELLO, ANSWER])
    assert await FileSession("customer-42", tmp_path).get_items() == [HELLO, ANSWER]
    assert await session.pop_item() == ANSWER
