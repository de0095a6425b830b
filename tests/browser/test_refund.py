"""A person and an agent: a message, its answer as it comes, a refund that is approved, and how it goes on."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright", reason="no browser: Playwright for Python is not installed")

from playwright.async_api import expect

from tests.fakes.browser import PATIENCE_MS, desk, shoot
from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import calls, endless, text

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
expect.set_options(timeout=PATIENCE_MS)
REFUND = {"order_id": "7", "amount": 120, "reason": "broken"}


async def test_a_person_sends_a_message_approves_the_refund_and_sees_the_run_go_on(
    migrated_sqlite: str, redis_url: str
) -> None:
    script = (calls(("refund", REFUND), message="I will give it back."), text("Your 120 are on their way."))
    async with ScriptedModel(*script) as model, desk(migrated_sqlite, redis_url, model) as office:
        page = await office.page()
        await page.goto(office.url)
        await expect(page.get_by_role("heading", name="Send a message")).to_be_visible()
        await shoot(page, "start")
        await page.get_by_label("Session").fill("customer-42")
        await page.get_by_label("Message").fill("Refund order 7")
        await page.get_by_role("button", name="Send").click()
        await expect(page.get_by_role("button", name="Approve")).to_be_visible()
        await expect(page).to_have_title("(1) customer-42 · Turnkeeper")
        await shoot(page, "session-waiting")
        await page.get_by_role("button", name="Approve").click()
        await expect(page.locator("#talk")).to_contain_text("120 for order 7 were given back")
        await expect(page.locator("#talk")).to_contain_text("Your 120 are on their way.")
        await expect(page.locator("#side")).to_contain_text("No run waits or works.")
        await expect(page).to_have_title("customer-42 · Turnkeeper")
        await shoot(page, "session-done")
        await page.get_by_role("link", name="Runs", exact=True).click()
        await shoot(page, "runs")
        await page.get_by_role("link", name="customer-42").click()
        await expect(page.locator("#run")).to_contain_text("Waits for a person")
        await shoot(page, "run")


async def test_an_answer_streams_into_the_page_and_a_cancelled_run_says_so(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with ScriptedModel(endless()) as model, desk(migrated_sqlite, redis_url, model) as office:
        page = await office.page()
        await page.goto(f"{office.url}/sessions/customer-42")
        await page.get_by_label("Message").fill("Go on")
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator("#stream")).not_to_be_empty()
        await page.get_by_role("link", name="Run 1").click()
        await expect(page.locator("#stream")).not_to_be_empty()
        await page.get_by_role("button", name="Cancel").click()
        await page.get_by_role("button", name="Go on").click()
        await expect(page.locator("h1 .badge")).to_have_text("cancelled")
        await expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
