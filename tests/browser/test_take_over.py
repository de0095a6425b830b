"""A worker dies while somebody looks at its run."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright", reason="no browser: Playwright for Python is not installed")

from playwright.async_api import expect

from tests.fakes.browser import PATIENCE_MS, SUPPORT, desk, shoot
from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import text
from tests.fakes.worker import running_worker

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
