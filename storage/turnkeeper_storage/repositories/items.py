"""The histories: append only, ordered by position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BindParameter, bindparam, delete, func, insert, select

from turnkeeper_storage.item_texts import readable
from turnkeeper_storage.items import Item, encode
from turnkeeper_storage.repositories import sessions
from turnkeeper_storage.sql_types import now
from turnkeeper_storage.tables import session_items
from turnkeeper_storage.unit_of_work import UnitOfWork

I = session_items.c  # noqa: E741
_KEY: BindParameter[str] = bindparam("b_key")

_INSERT = insert(session_items).values(
    session_key=_KEY,
    position=bindparam("b_position"),
    run_id=bindparam("b_run_id"),
    turn=bindparam("b_turn"),
    epoch=bindparam("b_epoch"),
    data=bindparam("b_data"),
    created_at=now(),
)


async def append(uow: UnitOfWork, key: str, items: Sequence[Item]) -> None:
    """Add items at the end of the history, in order. `uow.origin` says whose they are."""
    if not items:
        return
    texts = [encode(item, field=f"items[{index}]") for index, item in enumerate(items)]
    first = await _take_places(uow, key, len(items))
    origin = uow.origin
    turns = list(origin.turns) if origin else []
    if origin and len(turns) != len(items):  # a wrapper dropped or added some
        turns = [max(origin.turns, default=0)] * len(items)
    rows = [
        {
            "b_key": key,
            "b_position": first + index,
            "b_run_id": origin.run_id if origin else None,
            "b_turn": turns[index] if origin else None,
            "b_epoch": origin.epoch if origin else None,
            "b_data": text,
        }
        for index, text in enumerate(texts)
    ]
    await uow.later(_INSERT, *rows)


async def _take_places(uow: UnitOfWork, key: str, count: int) -> int:
    taken, uow.places = uow.places, None
    # a wrapper of the session may add more than was known to whoever took them
    if taken is not None and taken[0] == key and taken[2] >= count:
        return taken[1]
    return await sessions.take_positions(uow, key, count)


_ALL = select(I.data, I.position).where(I.session_key == _KEY).order_by(I.position)
_NEWEST = (
    select(I.data, I.position)
    .where(I.session_key == _KEY)
    .order_by(I.position.desc())
    .limit(bindparam("b_limit"))
)


async def newest(uow: UnitOfWork, key: str, limit: int | None) -> list[Item]:
    """The newest `limit` items (all when None) in chronological order; unreadable rows are left out.

    A row that cannot be read counts towards the limit: it takes a place in the window, not in the result.
    """
    if limit is None:
        rows = list(await uow.execute(_ALL, {"b_key": key}))
    else:
        rows = list(await uow.execute(_NEWEST, {"b_key": key, "b_limit": limit}))[::-1]
    read = [readable(row[0], row[1]) for row in rows]
    return [item for item in read if item is not None]


_PAGE = (
    select(I.data, I.position, I.run_id, I.turn, I.created_at)
    .where(I.session_key == _KEY, I.position > bindparam("b_after"))
    .order_by(I.position)
    .limit(bindparam("b_limit"))
)


@dataclass(frozen=True, slots=True)
class StoredRow:
    """An item with its place; `item` is None when the row cannot be read. `run_id`: who brought it."""

    position: int
    item: Item | None
    run_id: str | None
    turn: int | None
    created_at: datetime


async def page(uow: UnitOfWork, key: str, after: int, limit: int) -> list[StoredRow]:
    """The next rows past the position `after`, in order."""
    rows = await uow.execute(_PAGE, {"b_key": key, "b_after": after, "b_limit": limit})
    return [StoredRow(row[1], readable(row[0], row[1]), row[2], row[3], row[4]) for row in rows]


_LAST = _NEWEST.with_only_columns(I.position, I.data)
_DELETE_ONE = delete(session_items).where(I.session_key == _KEY, I.position == bindparam("b_position"))
_DELETE_ALL = delete(session_items).where(I.session_key == _KEY)


async def pop(uow: UnitOfWork, key: str) -> Item | None:
    """Remove and return the newest item; unreadable rows on the way are removed too."""
    while True:
        row = (await uow.execute(_LAST, {"b_key": key, "b_limit": 1})).one_or_none()
        if row is None:
            return None
        await uow.execute(_DELETE_ONE, {"b_key": key, "b_position": row[0]})
        item = readable(row[1], row[0])
        if item is not None:
            return item


async def entries(uow: UnitOfWork, key: str) -> list[tuple[int, Item | None]]:
    """All items with their positions, in order; None for those that cannot be read."""
    return [(row[1], readable(row[0], row[1])) for row in await uow.execute(_ALL, {"b_key": key})]


_DELETE_SOME = delete(session_items).where(
    I.session_key == _KEY, I.position.in_(bindparam("b_positions", expanding=True))
)
# under what drivers take as parameters of one statement
_AT_ONCE = 10_000


async def remove(uow: UnitOfWork, key: str, positions: Sequence[int]) -> None:
    """Remove the items at these positions."""
    for start in range(0, len(positions), _AT_ONCE):
        some = list(positions[start : start + _AT_ONCE])
        await uow.execute(_DELETE_SOME, {"b_key": key, "b_positions": some})


async def clear(uow: UnitOfWork, key: str) -> None:
    """Remove all items of the session."""
    await uow.execute(_DELETE_ALL, {"b_key": key})


_COUNT = select(func.count()).select_from(session_items).where(I.session_key == _KEY)


async def count(uow: UnitOfWork, key: str) -> int:
    """How many items the session has, unreadable ones included."""
    return int((await uow.execute(_COUNT, {"b_key": key})).scalar_one())
