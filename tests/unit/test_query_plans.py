"""No statement of the hot path reads a table from end to end, or sorts what it does not give.

The database is small for a test, and the planner likes to read small tables whole: it is told not to, so
that what it then still reads has no index to go by. `make bench BENCH=plans` looks at a million runs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial

import psycopg
import pytest
import pytest_asyncio
from sqlalchemy import text

from tests.fakes import databases
from tests.fakes.counting import counted_worker
from tests.fakes.explaining import Plan, explained
from tests.fakes.filled import DEEP_QUEUE, TENANT, Filled, Kind, fill
from tests.fakes.hot_path import AT_ONCE, NOT_HOT, READS_WORK, whole_path
from turnkeeper_storage import ids
from turnkeeper_storage.database import Database
from turnkeeper_storage.repositories import leases, runs, session_edits, unheld
from turnkeeper_storage.session_edits import Edit, EditAction
from turnkeeper_storage.unit_of_work import UnitOfWork

pytestmark = pytest.mark.asyncio(loop_scope="module")

RUNS = 20_000
# rows that one statement may look at: a sweep of so many sessions, each with its head
MOST_READ = 4 * AT_ONCE
# of the filled database: runs that are queued, at work or parked
IN_WORK = RUNS // 5 // 16 + DEEP_QUEUE


@pytest.fixture(scope="module")
def filled(postgres_server_url: str, postgres_template: str) -> Iterator[tuple[str, Filled]]:
    with databases.postgres_database(postgres_server_url, template=postgres_template) as url:
        content = fill(url, RUNS)
        with psycopg.connect(url, autocommit=True) as connection:
            name = databases.database_name(url)
            connection.execute(f'ALTER DATABASE "{name}" SET enable_seqscan = off')
        yield url, content


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plans(filled: tuple[str, Filled]) -> AsyncIterator[list[Plan]]:
    """Each statement of the hot path as it looked at most."""
    url, content = filled
    async with counted_worker(url) as worker:
        with explained() as taken:
            await whole_path(worker, content)
    yield [plan for plan in taken.worst() if plan.verb not in NOT_HOT]


async def test_the_statements_of_all_verbs_are_looked_at(plans: list[Plan]) -> None:
    verbs = {plan.verb for plan in plans}
    assert verbs >= {
        "enqueue",
        "claim",
        "get_items",
        "checkpoint",
        "settle_call",
        "finish",
        "park",
        "decide",
        "sweep",
        "heartbeat",
        "release",
        "runs.status",
        "cancel",
        "approvals.search",
        "runs.search",
        "expiry.end_late",
        "expiry.expire_due",
        "session_rows.page",
        *READS_WORK,
    }


async def test_no_table_is_read_from_end_to_end(plans: list[Plan]) -> None:
    assert [str(plan) for plan in plans if plan.whole_scans] == []


async def test_no_index_is_read_from_end_to_end(plans: list[Plan]) -> None:
    assert [str(plan) for plan in plans if plan.whole_indexes and plan.verb not in READS_WORK] == []


async def test_no_statement_looks_at_more_rows_than_it_needs(plans: list[Plan]) -> None:
    # an enqueue counts its session's queue, up to the limit
    limits = dict.fromkeys((*READS_WORK, "enqueue"), MOST_READ + IN_WORK)
    assert [str(plan) for plan in plans if plan.read > limits.get(plan.verb, MOST_READ)] == []


async def test_no_statement_sorts_more_than_it_gives(plans: list[Plan]) -> None:
    found = [plan for plan in plans if plan.wasted > AT_ONCE]
    assert [str(plan) for plan in found if plan.verb not in READS_WORK] == []


async def test_many_are_claimed_and_renewed_by_the_statements_for_one(filled: tuple[str, Filled]) -> None:
    # each different statement is prepared and planned anew by each connection
    url, content = filled
    keys = [ids.session_key(TENANT, content.session(Kind.QUEUED, number)) for number in range(70, 75)]

    async def hold(uow: UnitOfWork, count: int) -> None:
        free = await unheld.lock_free(uow, keys[:count], "mine")
        taken = await leases.claim_these(uow, free, "mine", "host:1:lock-3", 30.0)
        assert len(await runs.heads(uow, free)) == count
        assert len(await leases.renew(uow, [one.lease for one in taken], 30.0)) == count
        assert len(await leases.holders(uow, free)) == count
        assert await runs.cancel_requested(uow, free) == {}

    database = Database(url)
    statements = []
    for count in (1, 5):
        with explained() as taken:
            await database.transact(partial(hold, count=count))
        statements.append([plan.statement for plan in taken.taken])
    await database.aclose()
    assert statements[0] == statements[1]


async def test_the_walk_over_the_audit_reads_a_page_by_its_key(filled: tuple[str, Filled]) -> None:
    database = Database(filled[0])

    async def note(uow: UnitOfWork) -> None:
        for number in range(2 * AT_ONCE):
            name = f"audited-{number}"
            await session_edits.note(uow, ids.session_key(TENANT, name), TENANT, name, Edit(EditAction.CLEAR))

    await database.transact(note)
    with explained() as taken:
        look = partial(session_edits.page, after_place=("4", ""), seconds=60.0, limit=20)
        found = await database.read(look)
        over = [replace(one, is_over=True) for one in found]
        await database.transact(partial(session_edits.remove, found=over))
    await database.aclose()
    assert len(found) == 20
    assert [str(plan) for plan in taken.taken if plan.whole_scans or plan.whole_indexes] == []


async def test_a_statement_that_reads_all_is_told(filled: tuple[str, Filled]) -> None:
    whole = text("SELECT id FROM turnkeeper_runs WHERE input = 'x'")
    sorting = text("SELECT id FROM turnkeeper_runs ORDER BY input LIMIT 5")
    database = Database(filled[0])
    with explained() as taken:
        await database.read(lambda uow: uow.execute(whole))
        await database.read(lambda uow: uow.execute(sorting))
    await database.aclose()

    first, second = taken.taken
    assert set(first.whole_scans) == {"turnkeeper_runs"}
    assert first.read >= RUNS
    assert second.wasted >= RUNS - 5
