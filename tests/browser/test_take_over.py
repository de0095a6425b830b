"""A worker dies while somebody looks at its run."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("playwright", reason="no browser: Playwright for Python is not installed")

from playwright.async_api import expect

from tests.fakes.browser import PATIENCE_MS, SUPPORT, desk, refund, shoot
from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import Reply, calls, text
from tests.fakes.worker import running_worker
from turnkeeper_storage.items import Json
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.tools import tool

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
expect.set_options(timeout=PATIENCE_MS)


async def test_a_worker_dies_while_the_timeline_is_open_and_the_take_over_is_seen(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with (
        ScriptedModel(answer=lambda body: text("Here I am again.")) as model,
        desk(migrated_sqlite, redis_url, model) as office,
    ):
        model.hold()
        run = await office.worker.client.enqueue("customer-42", "Hello", agent="support", stream=True)
        await model.wait_for(1, within=PATIENCE_MS / 1000)
        page = await office.page()
        await page.goto(f"{office.url}/runs/{run.id}")
        await expect(page.locator(".bars")).to_contain_text("Worker, attempt 1")
        await office.worker.die()
        await office.worker.lease_runs_out("customer-42")
        model.release()
        async with running_worker(migrated_sqlite, model, agents=[SUPPORT], redis_url=redis_url):
            await expect(page.locator(".bars")).to_contain_text("Worker, attempt 2")
            await expect(page.locator(".bars .lost")).not_to_have_count(0)
            await expect(page.locator("h1 .badge")).to_have_text("completed")
            await expect(page.locator("#run")).to_contain_text("Here I am again.")
            await shoot(page, "take-over")


class Carrier:
    """Answers slowly, until it is told to answer."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = asyncio.Event()

    async def answer(self) -> str:
        self.asked += 1
        await self.answers.wait()
        return "It is on its way."


def looks_then_refunds(body: dict[str, Json]) -> Reply:
    """An order is looked up, then refunded, then there is an answer."""
    done = sum(item.get("type") == "function_call_output" for item in body["input"])
    if done == 0:
        return calls(("track_parcel", {"order_id": "7"}))
    if done == 1:
        return calls(("refund", {"order_id": "7", "amount": 120, "reason": "late"}))
    return text("Your 120 are on their way.")


async def test_each_tool_call_is_a_bar_open_while_it_works_and_lost_with_its_worker(
    migrated_sqlite: str, redis_url: str
) -> None:
    carrier = Carrier()

    @tool
    async def track_parcel(order_id: str) -> str:
        """Ask the carrier where an order is."""
        return await carrier.answer()

    agents = [Agent(name="support", model="gpt-5.2", tools=[track_parcel, refund])]
    async with (
        ScriptedModel(answer=looks_then_refunds) as model,
        desk(migrated_sqlite, redis_url, model, agents=agents) as office,
    ):
        run = await office.worker.client.enqueue("customer-42", "Refund it", agent="support", stream=True)
        page = await office.page()
        await page.goto(f"{office.url}/runs/{run.id}")
        bars = page.locator(".bar-row").filter(has=page.locator("rect.tool"))
        await expect(bars).to_have_count(1)
        await expect(bars).to_contain_text("track parcel")
        await expect(bars.locator("rect.open")).to_have_count(1)
        await office.worker.die()
        await office.worker.lease_runs_out("customer-42")
        async with running_worker(migrated_sqlite, model, agents=agents, redis_url=redis_url) as heir:
            await expect(bars).to_have_count(2)
            await expect(bars.first.locator("rect.lost")).to_have_count(1)
            await expect(bars.first).to_contain_text("no answer")
            await expect(bars.last.locator("rect.open")).to_have_count(1)
            carrier.answers.set()
            await expect(bars.last).to_contain_text("done")
            waits = page.locator(".bar-row").filter(has=page.locator("rect.pause"))
            await expect(waits).to_contain_text("Waits for a person: refund")
            await expect(waits.locator("rect.open")).to_have_count(1)
            (approval,) = (await heir.client.approvals()).approvals
            await heir.client.approve(approval.id, by="ben")
            await expect(waits).to_contain_text("approved by ben")
            await expect(page.locator("h1 .badge")).to_have_text("completed")
            await expect(bars).to_have_count(3)
            await expect(bars.last).to_contain_text("refund done")
            await expect(page.locator(".bar-row").filter(has_text="Turn 3")).to_contain_text("tokens in")
            await shoot(page, "timeline")
        assert carrier.asked == 2
