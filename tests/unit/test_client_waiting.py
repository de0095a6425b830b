"""What a waiter asks the database for: as little as what it heard allows."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from tests.fakes.wait import eventually
from tests.unit.test_api_documents import RUN
from turnkeeper_client.backend import Backend
from turnkeeper_client.following import Following
from turnkeeper_client.live_reader import Feed
from turnkeeper_client.snapshots import RunSnapshot
from turnkeeper_storage.live import News
from turnkeeper_storage.model import RunStatus


class Standing:
    """A backend whose run stands as it is said; `asked` counts the looks at its status."""

    def __init__(self) -> None:
        self.feed_heard = Feed(None, "run_1", deltas=False)
        self.feed_heard.is_live = True
        self.status_now = RunStatus.RUNNING
        self.asked = 0

    async def status(self, key: str, run_id: str, tenant: str) -> RunStatus:
        self.asked += 1
        return self.status_now

    def feed(self, run_id: str, *, deltas: bool) -> Feed:
        return self.feed_heard


@pytest.fixture
def standing() -> Standing:
    return Standing()


def wait(standing: Standing, looks: list[str]) -> asyncio.Task[RunSnapshot]:
    async def look(run_id: str) -> RunSnapshot:
        looks.append(run_id)
        return RUN

    following = Following(cast(Backend, cast(Any, standing)), "default")
    return asyncio.create_task(following.settled("k", "run_1", 20, look))


async def test_who_is_told_that_the_run_ended_asks_once_for_all_of_it(standing: Standing) -> None:
    looks: list[str] = []
    waiting = wait(standing, looks)
    await eventually(lambda: standing.asked == 1)
    standing.feed_heard.hear_of(News(2, settles=False))
    standing.feed_heard.hear_of(News(4, settles=True))
    assert await waiting == RUN
    assert (standing.asked, looks) == (1, ["run_1"])


async def test_who_is_told_that_the_run_goes_on_asks_for_nothing(standing: Standing) -> None:
    looks: list[str] = []
    waiting = wait(standing, looks)
    await eventually(lambda: standing.asked == 1)
    for n in range(2, 6):
        standing.feed_heard.hear_of(News(n, settles=False))
        await eventually(lambda: not standing.feed_heard._news.is_set())
    assert standing.asked == 1
    standing.feed_heard.hear_of(News(6, settles=True))
    await waiting


async def test_who_is_told_by_an_older_release_looks_each_time(standing: Standing) -> None:
    looks: list[str] = []
    waiting = wait(standing, looks)
    await eventually(lambda: standing.asked == 1)
    standing.feed_heard.hear_of(News(2))
    await eventually(lambda: standing.asked == 2)
    standing.status_now = RunStatus.COMPLETED
    standing.feed_heard.hear_of(News(4))
    assert await waiting == RUN


async def test_who_may_have_missed_something_looks_whatever_was_told(standing: Standing) -> None:
    looks: list[str] = []
    waiting = wait(standing, looks)
    await eventually(lambda: standing.asked == 1)
    standing.status_now = RunStatus.COMPLETED
    standing.feed_heard.hear_of(News(2, settles=False))
    standing.feed_heard.look(is_live=False)
    assert await waiting == RUN
