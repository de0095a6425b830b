"""Runs that wait for a person, for tests without a loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tests.conformance.desk import LEASE_SECONDS
from tests.conformance.parking import Parking
from turnkeeper_storage.database import Database

T = TypeVar("T")


def work_on(url: str, work: Callable[[Parking], Coroutine[Any, Any, T]]) -> T:
    """What `work` gives that calls the verbs on this database, on a loop of its own."""

    async def run() -> T:
        database = Database(url, lease_seconds=LEASE_SECONDS)
        try:
            return await work(Parking(database))
        finally:
            await database.aclose()

    return asyncio.run(run())
