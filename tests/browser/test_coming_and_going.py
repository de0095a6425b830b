"""Ways in and out: links from other sites, signing in and out; and what a session loses after a question."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright", reason="no browser: Playwright for Python is not installed")

from playwright.async_api import Page, Route, expect

from tests.fakes.browser import PATIENCE_MS, desk
from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import calls, text

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
expect.set_options(timeout=PATIENCE_MS)
REFUND = calls(("refund", {"order_id": "7", "amount": 1, "reason": "r"}))


async def follow_a_link(page: Page, url: str) -> None:
    """To `url`, out of a page of another site."""

    async def elsewhere(route: Route) -> None:
        await route.fulfill(content_type="text/html", body=f'<a href="{url}">look</a>')

    await page.route("http://chat.example/", elsewhere)
    await page.goto("http://chat.example/")
    await page.get_by_role("link", name="look").click()


async def test_a_link_from_elsewhere_leads_who_is_signed_in_to_its_approval_and_who_left_to_the_door(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with ScriptedModel(REFUND) as model, desk(migrated_sqlite, redis_url, model, keys=True) as office:
        approval = await office.parked("customer-42")
        link = f"{office.url}/approvals/{approval}"
        made = await office.worker.client.create_api_key("ana", ["approvals:read"])
        page = await office.page()
        await follow_a_link(page, link)
        await page.get_by_label("API key").fill("tk_wrong")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator("#wrong")).to_contain_text("there is no such key")
        await page.get_by_label("API key").fill(made.text)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page).to_have_url(link)
        await expect(page.locator("#detail")).to_contain_text("Your key may look, and not decide.")
        await follow_a_link(page, link)
        await expect(page).to_have_url(link)
        await expect(page.locator("#detail")).to_contain_text("wants to call")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_label("API key")).to_be_visible()
        await page.goto(link)
        await expect(page.get_by_label("API key")).to_be_visible()


async def test_a_link_from_elsewhere_leads_in_where_nobody_signs_in_too(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with ScriptedModel() as model, desk(migrated_sqlite, redis_url, model) as office:
        page = await office.page()
        await follow_a_link(page, office.url)
        await expect(page.get_by_role("heading", name="Send a message")).to_be_visible()


async def test_a_session_loses_its_newest_item_all_items_and_itself_after_a_question(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with ScriptedModel(text("Hi")) as model, desk(migrated_sqlite, redis_url, model) as office:
        client = office.worker.client
        handle = await client.enqueue("customer-42", "Hello", agent="support")
        await handle.wait(PATIENCE_MS / 1000)
        page = await office.page()
        await page.goto(f"{office.url}/sessions/customer-42")
        lines = page.locator("#talk .line")
        await expect(lines).to_have_count(2)
        await page.get_by_role("button", name="Remove the newest").click()
        await page.get_by_role("button", name="Keep it").click()
        await expect(page.locator("#confirm")).to_be_hidden()
        assert len(await client.session("customer-42").get_items()) == 2
        await page.get_by_role("button", name="Remove the newest").click()
        await page.get_by_role("button", name="Go on").click()
        await expect(lines).to_have_count(1)
        await page.get_by_role("button", name="Clear").click()
        await page.get_by_role("button", name="Go on").click()
        await expect(lines).to_have_count(0)
        await page.get_by_role("button", name="Delete").click()
        await page.get_by_role("button", name="Go on").click()
        await expect(page.get_by_text("There are no sessions like that.")).to_be_visible()
        assert (await client.sessions()).sessions == ()
