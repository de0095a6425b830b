"""What a run costs in counts: transactions, statements, round trips, wake-ups, rows, bytes.

The tables are what it costs today. A change that makes it cheaper lowers them; one that makes it dearer has
to raise them in sight of whoever reviews it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.util import greenlet_spawn

from tests.fakes import databases
from tests.fakes.counting import Cost, Counted, Most, by_verb, counted_worker, excess, total
from tests.fakes.plans import plan
from tests.fakes.postgres_tap import PostgresTap
from tests.fakes.redis_monitor import RedisMonitor
from tests.fakes.written_rows import WrittenRows
from turnkeeper_storage.database import Database
from turnkeeper_storage.items import user_message
from turnkeeper_storage.unit_of_work import UnitOfWork

ONE_TURN = plan(name="hello")
TOOL_TURN = plan("look")
TWO_TOOL_TURNS = plan("look", "look")
GATED = plan("pay")

# by verb: at most so many transactions, statements (of many rows, one for each), round trips
# (what only reads has no transaction around it: each statement is one)
ENQUEUE, CLAIM, HISTORY = (1, 1, 1), (1, 1, 1), (1, 1, 1)
CHECKPOINT, TOOL_OUTPUT, LOAD = (1, 2, 4), (1, 1, 1), (1, 1, 1)
COSTS: dict[str, Most] = {
    ONE_TURN: {"enqueue": ENQUEUE, "claim": CLAIM, "get_items": HISTORY, "finish": (1, 2, 4)},
    TOOL_TURN: {
        "enqueue": ENQUEUE,
        "claim": CLAIM,
        "get_items": HISTORY,
        "checkpoint": CHECKPOINT,
        "settle_call": TOOL_OUTPUT,
        "finish": (1, 2, 4),
    },
    TWO_TOOL_TURNS: {
        "enqueue": ENQUEUE,
        "claim": CLAIM,
        "get_items": HISTORY,
        "checkpoint": (2, 4, 8),
        "settle_call": (2, 2, 2),
        "finish": (1, 9, 6),
    },
    GATED: {
        "enqueue": ENQUEUE,
        "claim": CLAIM,
        "get_items": HISTORY,
        "checkpoint": CHECKPOINT,
        "park": (1, 10, 12),
    },
}
# the run that GATED parked, from the decision on; a claim of a run that was at work before tells no event
APPROVED: Most = {
    # a look, and all that it writes
    "decide": (2, 2, 2),
    "claim": CLAIM,
    "_load_progress": LOAD,
    "start_call": (1, 1, 1),
    "settle_call": TOOL_OUTPUT,
    "finish": (1, 2, 4),
}
# a run that finds its session busy, with the finish of the run before: that has its claim, and no release
CHAINED: Most = {"enqueue": ENQUEUE, "get_items": HISTORY, "finish": (2, 6, 10)}

pytestmark = pytest.mark.asyncio(loop_scope="module")

# in a session that had a run before
ROWS: dict[str, dict[str, dict[str, int]]] = {
    ONE_TURN: {
        "sessions": {"update": 4},
        "runs": {"insert": 1, "update": 2},
        "run_events": {"insert": 4},
        "boundaries": {"insert": 1},
        "session_items": {"insert": 2},
    },
    TOOL_TURN: {
        "sessions": {"update": 6},
        "runs": {"insert": 1, "update": 4},
        "run_events": {"insert": 5},
        "boundaries": {"insert": 1},
        "session_items": {"insert": 4},
        "turns": {"insert": 1},
        "tool_calls": {"insert": 1, "update": 1},
    },
    GATED: {
        "sessions": {"update": 6},
        "runs": {"insert": 1, "update": 3},
        "run_events": {"insert": 4},
        "boundaries": {"insert": 1},
        "session_items": {"insert": 2},
        "turns": {"insert": 1},
        "tool_calls": {"insert": 1, "update": 1},
        "approvals": {"insert": 1},
    },
}
# numbers in JSON texts have more digits in a longer session: tokens, positions
DIGITS = 32


@pytest.fixture(scope="module")
def database_of_all(postgres_server_url: str, postgres_template: str) -> Iterator[str]:
    """One database for the tests that each have a session of their own."""
    with databases.postgres_database(postgres_server_url, template=postgres_template) as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def counted(database_of_all: str) -> AsyncIterator[Counted]:
    """A worker whose connections know all statements: each kind of run was there before, more than once."""
    async with counted_worker(database_of_all) as worker:
        for _ in range(3):
            for words in COSTS:
                session = worker.new_session()
                await worker.run(session, words)
            await worker.approve(session)
            await _sent(worker, 100, TOOL_TURN, agent="windowed")
        yield worker


@pytest.mark.parametrize("words", COSTS)
async def test_a_run_takes_no_more_transactions_statements_and_round_trips(
    counted: Counted, words: str
) -> None:
    assert excess(await counted.run(counted.new_session(), words), COSTS[words]) == []


async def test_a_run_that_was_approved_goes_on_with_no_more(counted: Counted) -> None:
    session = counted.new_session()
    await counted.run(session, GATED)
    assert excess(await counted.approve(session), APPROVED) == []


async def test_nothing_that_each_run_asks_is_left_to_sqlalchemy(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes several times as long there: a list in a statement is enough for that."""
    left: list[str] = []
    dialect = asyncpg.dialect()  # type: ignore[no-untyped-call]

    async def noted(call: Any, statement: Any, *more: Any) -> Any:
        left.append(str(statement.compile(dialect=dialect)))
        return await greenlet_spawn(call, statement, *more)

    monkeypatch.setattr("turnkeeper_storage.direct.greenlet_spawn", noted)
    session = counted.new_session()
    for words in (ONE_TURN, TOOL_TURN):
        await counted.run(session, words)
    assert left == []
    await counted.run(session, GATED)
    left.clear()  # a park says of each approval when it expires, in a statement of its own
    await counted.approve(session)
    # but for the search by which this test finds what there is to approve
    assert [one for one in left if "LIMIT" not in one] == []


async def test_a_run_of_one_turn_writes_in_three_transactions_at_most(counted: Counted) -> None:
    assert total(await counted.run(counted.new_session(), ONE_TURN)).writes <= 3


async def test_a_run_that_finds_its_session_busy_is_claimed_by_the_finish_before(counted: Counted) -> None:
    client, session = counted.worker.client, counted.new_session()
    await _begin_held(counted, session)
    counted.tap.taken()
    await client.enqueue(session, ONE_TURN, agent="support")
    counted.model.release()

    assert excess(await counted.costs(), CHAINED) == []


@pytest.mark.parametrize("words", COSTS)
async def test_a_run_like_one_before_prepares_no_statement_anew(counted: Counted, words: str) -> None:
    assert total(await counted.run(counted.new_session(), words)).prepares == 0


async def test_a_run_rings_once_when_its_session_is_idle(counted: Counted) -> None:
    rung = counted.worker.bell.rung
    rung.clear()
    await counted.run(counted.new_session(), TOOL_TURN)
    assert len(rung) == 1


async def test_a_run_rings_not_at_all_when_its_session_is_busy(counted: Counted) -> None:
    client, rung, session = counted.worker.client, counted.worker.bell.rung, counted.new_session()
    await _begin_held(counted, session)
    rung.clear()
    for _ in range(3):
        await client.enqueue(session, ONE_TURN, agent="support")
    counted.model.release()
    await counted.costs()
    assert rung == []


async def test_a_decision_rings_once(counted: Counted) -> None:
    session = counted.new_session()
    await counted.run(session, GATED)
    counted.worker.bell.rung.clear()
    await counted.approve(session)
    assert len(counted.worker.bell.rung) == 1


@pytest.mark.parametrize(("words", "turns"), [(ONE_TURN, 1), (TOOL_TURN, 2), (TWO_TOOL_TURNS, 3)])
async def test_the_model_is_asked_once_for_each_turn(counted: Counted, words: str, turns: int) -> None:
    counted.model.requests.clear()
    await counted.run(counted.new_session(), words)
    assert len(counted.model.requests) == turns


async def test_redis_is_told_once_of_each_commit_that_has_news(database_of_all: str, redis_url: str) -> None:
    async with RedisMonitor(redis_url) as monitor:
        async with counted_worker(database_of_all, redis_url=redis_url) as worker:
            await worker.run("told", ONE_TURN)
        told = await monitor.taken()  # the worker has ended, so all is sent

    # started, and turn finished with completed; those of one sending are told as one
    assert 1 <= told.pop("PUBLISH") <= 2
    assert not told


@pytest.mark.parametrize("words", ROWS)
async def test_a_run_writes_these_rows(migrated_postgres: str, words: str) -> None:
    rows = WrittenRows(migrated_postgres)
    async with counted_worker(migrated_postgres) as worker:
        await worker.run("s", ONE_TURN)
        rows.taken()
        await worker.run("s", words)
        assert rows.taken() == ROWS[words]


async def test_what_a_run_of_one_turn_sends_does_not_grow_with_its_session(counted: Counted) -> None:
    young, old = await _sent(counted, 0, ONE_TURN), await _sent(counted, 1000, ONE_TURN)
    assert abs(old - young) <= DIGITS


async def test_a_further_turn_sends_as_much_in_a_long_session_as_in_a_new_one(counted: Counted) -> None:
    # the first checkpoint stores the merged input, and no later one does
    young = await _sent(counted, 0, TWO_TOOL_TURNS) - await _sent(counted, 0, TOOL_TURN)
    old = await _sent(counted, 1000, TWO_TOOL_TURNS) - await _sent(counted, 1000, TOOL_TURN)
    assert abs(old - young) <= DIGITS


async def test_a_windowed_run_of_many_turns_sends_no_more_than_its_window(counted: Counted) -> None:
    some = await _sent(counted, 100, TOOL_TURN, agent="windowed")
    many = await _sent(counted, 1000, TOOL_TURN, agent="windowed")
    # each message of the window has a digit more
    assert abs(many - some) <= DIGITS + 50


async def _begin_held(counted: Counted, session: str) -> None:
    """A run whose model call waits for `release`."""
    counted.model.hold()
    await counted.worker.client.enqueue(session, ONE_TURN, agent="support")
    await counted.model.wait_for_in_flight(1)


async def _sent(counted: Counted, items: int, words: str, *, agent: str = "support") -> int:
    """Bytes that the database is sent for a run in a session that holds so many items."""
    session = counted.new_session()
    if items:
        history = [user_message(f"message {number}") for number in range(items)]
        await counted.worker.client.session(session).add_items(history)
    return total(await counted.run(session, words, agent=agent)).sent_bytes


async def test_what_goes_over_the_wire_is_counted(database_of_all: str) -> None:
    async def three(uow: UnitOfWork) -> None:
        await uow.execute(text("SELECT 1"))
        rows = [{"id": 7, "code": "a"}, {"id": 8, "code": "b"}]
        await uow.execute(text("INSERT INTO turnkeeper_compatibility VALUES (:id, :code)"), rows)

    async def one(uow: UnitOfWork) -> None:
        await uow.execute(text("SELECT 1"))

    async with PostgresTap(database_of_all) as tap:
        database = Database(tap.url)
        await database.read(one)
        tap.taken()
        await database.transact(three)
        await database.read(one)
        written, read = tap.taken()
        await database.aclose()

    # BEGIN, SELECT, both rows in one, COMMIT
    assert (len(written.statements), written.round_trips, written.prepares) == (3, 4, 1)
    assert (len(read.statements), read.round_trips, read.prepares) == (1, 1, 0)
    assert [total(by_verb([each])).writes for each in (written, read)] == [1, 0]


async def test_one_statement_more_than_allowed_is_told() -> None:
    allowed: Most = {"claim": (1, 4, 6)}
    assert excess({"claim": Cost(1, 1, 4, 6)}, allowed) == []
    assert excess({"claim": Cost(1, 1, 5, 6)}, allowed)
    assert excess({"claim": Cost(2, 1, 4, 6)}, allowed)
    assert excess({"look": Cost(1, 0, 1, 1)}, allowed)
