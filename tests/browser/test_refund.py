"""A person and an agent: a message, its answer as it comes, a refund that is approved, and how it goes on."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright", reason="no browser: Playwright for Python is not installed")

from playwright.async_api import Locator, expect

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
        payloads = page.locator("#run .events details")
        await expect(payloads.first).to_be_visible()
        await expect(page.locator("#run .events details[open]")).to_have_count(0)
        await payloads.nth(1).locator("summary").click()
        await expect(payloads.nth(1).locator("pre")).to_contain_text('"epoch": 1')
        await shoot(page, "run")


async def test_a_message_is_sent_and_its_approval_given_without_a_mouse(
    migrated_sqlite: str, redis_url: str
) -> None:
    script = (calls(("refund", REFUND)), text("Your 120 are on their way."))
    async with ScriptedModel(*script) as model, desk(migrated_sqlite, redis_url, model) as office:
        page = await office.page()
        keys = page.keyboard
        await page.goto(office.url)
        await expect(page.locator("html")).to_have_attribute("data-ready", "yes")

        async def tab_to(place: Locator) -> None:
            for _ in range(40):
                if await place.evaluate("element => element === document.activeElement"):
                    return
                await keys.press("Tab")
            raise AssertionError(f"Tab does not lead to {place}")

        await keys.press("Tab")
        await expect(page.get_by_text("Skip to the content")).to_be_focused()
        await keys.press("Enter")
        await tab_to(page.get_by_label("Message"))
        await keys.press("ControlOrMeta+a")
        await keys.type("Refund order 7")
        await keys.press("Control+Enter")
        approve = page.get_by_role("button", name="Approve")
        await expect(approve).to_be_visible()
        await tab_to(approve)
        await keys.press("Enter")
        await expect(page.locator("#talk")).to_contain_text("Your 120 are on their way.")
        (decided,) = (await office.worker.client.approvals("approved")).approvals
        assert decided.decided_by == "ana"


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
