"""A migrated database with its verbs, empty for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import delete

from tests.conformance.desk import LEASE_SECONDS, Desk
from tests.conformance.parking import Parking
from tests.fakes import databases
from turnkeeper_storage.database import Database
from turnkeeper_storage.tables import metadata
from turnkeeper_storage.unit_of_work import UnitOfWork


@pytest.fixture(scope="module")
def shared_postgres(postgres_server_url: str, postgres_template: str) -> Iterator[str]:
    """One PostgreSQL database for the tests of a module: making one takes longer than most tests."""
    with databases.postgres_database(postgres_server_url, template=postgres_template) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def desk_url(request: pytest.FixtureRequest) -> str:
    """A migrated database, which may hold what the module's tests left."""
    fixture = {"sqlite": "migrated_sqlite", "postgres": "shared_postgres"}[request.param]
    return str(request.getfixturevalue(fixture))


@pytest.fixture
async def desk(desk_url: str) -> AsyncIterator[Desk]:
    database = Database(desk_url, lease_seconds=LEASE_SECONDS)
    await database.transact(_empty)
    yield Desk(database)
    await database.aclose()


@pytest.fixture
def parking(desk: Desk) -> Parking:
    """The same database, with what people and workers do about approvals."""
    return Parking(desk.database)


async def _empty(uow: UnitOfWork) -> None:
    for table in metadata.sorted_tables:
        await uow.execute(delete(table))
