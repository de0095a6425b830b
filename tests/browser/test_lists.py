"""What keeps itself up to date: the inbox, runs, a session's queue, workers; and what stands in addresses."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright", reason="no browser: Playwright for Python is not installed")

from playwright.async_api import Page, expect

from tests.fakes.browser import PATIENCE_MS, SUPPORT, desk, shoot
from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import Reply, calls, text
from tests.fakes.worker import running_worker
from turnkeeper_storage.items import Json

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
expect.set_options(timeout=PATIENCE_MS)
REFUND = {"order_id": "7", "amount": 120, "reason": "broken"}
# keeps each `new Notification(…)`, and makes it
RECORDING = """
window.told = [];
window.Notification = new Proxy(window.Notification, {
  construct: (target, given) => { window.told.push(given); return new target(...given); },
  get: (target, name) => typeof target[name] === "function" ? target[name].bind(target) : target[name],
});
"""


def refunds(body: dict[str, Json]) -> Reply:
    """A refund for each message, then an answer."""
    is_output = body["input"][-1].get("type") == "function_call_output"
    return text("Done.") if is_output else calls(("refund", REFUND))


async def stays(page: Page) -> None:
    """From here on `is_still` tells whether the page was loaded anew."""
    await page.evaluate("window.stays = true")


async def is_still(page: Page) -> bool:
    return await page.evaluate("window.stays === true") is True


async def test_the_inbox_and_the_count_follow_what_others_do_without_a_reload(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with ScriptedModel(answer=refunds) as model, desk(migrated_sqlite, redis_url, model) as office:
        page = await office.page()
        await page.goto(f"{office.url}/approvals")
        await expect(page.locator("#list")).to_contain_text("Nothing waits for a person.")
        await expect(page).to_have_title("Approvals · Turnkeeper")
        await stays(page)
        first = await office.parked("customer-1")
        await office.parked("customer-2")
        entries = page.locator("#list .entry")
        await expect(entries).to_have_count(2)
        await expect(page).to_have_title("(2) Approvals · Turnkeeper")
        await expect(page.locator("#pending")).to_contain_text("2")
        await office.worker.client.reject(first, by="ben")
        await expect(entries).to_have_count(1)
        await expect(page).to_have_title("(1) Approvals · Turnkeeper")
        assert await is_still(page)


async def test_who_asks_for_it_is_notified_of_what_comes_and_who_does_not_is_not(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with ScriptedModel(answer=refunds) as model, desk(migrated_sqlite, redis_url, model) as office:
        page = await office.page()
        await page.context.grant_permissions(["notifications"], origin=office.url.removesuffix("/console"))
        await page.add_init_script(RECORDING)
        await page.goto(f"{office.url}/approvals")
        await office.parked("customer-1")
        entries = page.locator("#list .entry")
        await expect(entries).to_have_count(1)
        await page.get_by_role("button", name="Notify me").click()
        button = page.get_by_role("button", name="Notifies you")
        await expect(button).to_have_attribute("aria-pressed", "true")
        await office.parked("customer-2")
        await expect(entries).to_have_count(2)
        told = [["Turnkeeper", {"body": "2 approvals wait."}]]
        assert await page.evaluate("window.told") == told
        # it is remembered, and can be taken back
        await page.reload()
        await button.click()
        await expect(page.get_by_role("button", name="Notify me")).to_have_attribute("aria-pressed", "false")
        await office.parked("customer-3")
        await expect(entries).to_have_count(3)
        assert await page.evaluate("window.told") == []


async def test_runs_are_found_by_filters_that_stand_in_the_address_and_their_status_is_live(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with (
        ScriptedModel(answer=lambda body: text("Hi")) as model,
        desk(migrated_sqlite, redis_url, model) as office,
    ):
        client = office.worker.client
        for name in ("customer-1", "customer-2"):
            await (await client.enqueue(name, "Hello", agent="support")).wait(PATIENCE_MS / 1000)
        page = await office.page()
        await page.goto(f"{office.url}/runs")
        rows = page.locator("#runs tbody tr")
        await expect(rows).to_have_count(2)
        await page.get_by_label("Session or run id").fill("customer-2")
        await page.get_by_role("button", name="Show").click()
        await expect(page).to_have_url(f"{office.url}/runs?session=customer-2")
        await expect(rows).to_have_count(1)
        await stays(page)
        model.hold()
        run = await client.enqueue("customer-2", "More", agent="support")
        await expect(rows.first.locator(".badge")).to_have_text("running")
        model.release()
        await expect(rows.first.locator(".badge")).to_have_text("completed")
        assert await is_still(page)
        await page.get_by_label("Status").select_option("failed")
        await page.get_by_role("button", name="Show").click()
        await expect(page).to_have_url(f"{office.url}/runs?status=failed&session=customer-2")
        await expect(rows).to_have_text("There are no runs like that.")
        await page.get_by_label("Session or run id").fill(run.id)
        await page.get_by_role("button", name="Show").click()
        await expect(page).to_have_url(f"{office.url}/runs/{run.id}")


async def test_approvals_that_were_decided_are_found_by_status_and_tool_in_the_address(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with ScriptedModel(answer=refunds) as model, desk(migrated_sqlite, redis_url, model) as office:
        approval = await office.parked("customer-1")
        await office.parked("customer-2")
        await office.worker.client.reject(approval, by="ben", reason="not twice")
        page = await office.page()
        await page.goto(f"{office.url}/approvals")
        entries = page.locator("#list .entry")
        await expect(entries).to_have_count(1)
        await page.get_by_label("Status").select_option("rejected")
        await page.get_by_label("Tool").fill("refund")
        await page.get_by_role("button", name="Show").click()
        await expect(page).to_have_url(f"{office.url}/approvals?status=rejected&tool=refund")
        await expect(entries).to_have_count(1)
        await entries.get_by_role("link").click()
        # a view with what is chosen in it is an address, too
        await expect(page).to_have_url(f"{office.url}/approvals/{approval}?status=rejected&tool=refund")
        await expect(page.locator("#detail")).to_contain_text("ben rejected it.")
        other = await office.page()
        await other.goto(page.url)
        await expect(other.locator("#detail")).to_contain_text("“not twice”")
        await expect(other.locator("#list .entry.current")).to_have_count(1)


async def test_a_session_shows_what_works_and_what_waits_in_its_queue_and_the_list_of_sessions_grows(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with (
        ScriptedModel(answer=lambda body: text("Hi")) as model,
        desk(migrated_sqlite, redis_url, model) as office,
    ):
        client = office.worker.client
        lists = await office.page()
        await lists.goto(f"{office.url}/sessions")
        await expect(lists.locator("#sessions")).to_contain_text("There are no sessions like that.")
        await stays(lists)
        model.hold()
        first = await client.enqueue("customer-42", "Hello", agent="support", stream=True)
        await expect(lists.get_by_role("link", name="customer-42")).to_be_visible()
        assert await is_still(lists)
        page = await office.page()
        await page.goto(f"{office.url}/sessions/customer-42")
        queue = page.locator("#side ol li")
        await expect(queue).to_have_count(1)
        await stays(page)
        second = await client.enqueue("customer-42", "More", agent="support", stream=True)
        await expect(queue.locator(".badge")).to_have_text(["running", "queued"])
        model.release()
        for run in (first, second):
            await run.wait(PATIENCE_MS / 1000)
        await expect(page.locator("#side")).to_contain_text("No run waits or works.")
        await expect(page.locator("#talk .line")).to_have_count(4)
        assert await is_still(page)


async def test_workers_are_seen_idle_busy_and_silent_with_the_leases_that_were_lost(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with (
        ScriptedModel(answer=lambda body: text("Hi")) as model,
        desk(migrated_sqlite, redis_url, model, sweep_seconds=0.5) as office,
    ):
        page = await office.page()
        await page.goto(f"{office.url}/workers")
        rows = page.get_by_role("region", name="Workers").locator("tbody tr")
        await expect(rows).to_have_count(1)
        await expect(rows).to_contain_text("idle")
        slots = str(office.worker.client.settings.concurrency)
        await expect(rows.locator("td").nth(3)).to_have_text(slots)
        await stays(page)
        model.hold()
        await office.worker.client.enqueue("customer-1", "Hello", agent="support")
        await expect(rows.locator("td").nth(2)).to_have_text("1")
        await expect(rows.locator("td").nth(4)).to_have_text("1")
        await office.worker.die()
        await office.worker.client.enqueue("customer-2", "Hello", agent="support")
        await office.worker.lease_runs_out("customer-1")
        await expect(rows.locator("td").nth(5)).to_have_text("1")
        tiles = page.locator(".tiles div")
        await expect(tiles.filter(has_text="leases lost").locator("dd")).to_have_text("1")
        await expect(tiles.filter(has_text="sessions without a holder").locator("dd")).to_have_text("2")
        await expect(tiles.filter(has_text="oldest queued").locator("dd")).not_to_have_text("–")
        await expect(tiles.filter(has_text="lag").locator("dd")).not_to_have_text("–")
        # nobody hears of it any more
        await expect(rows).to_contain_text("silent", timeout=60_000)
        model.release()
        async with running_worker(
            migrated_sqlite, model, agents=[SUPPORT], redis_url=redis_url, sweep_seconds=0.5
        ):
            await expect(rows).to_have_count(2)
            await expect(tiles.filter(has_text="leases lost").locator("dd")).to_have_text("0")
            await shoot(page, "workers")
        # it left in order
        await expect(rows).to_have_count(1)
        assert await is_still(page)
