"""Ways in and out: links from other sites, signing in and out; and what a session loses after a question."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="no browser: Playwright for Python is not installed")

from playwright.async_api import Page, Route, expect

from tests.fakes.browser import PATIENCE_MS, desk
from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import calls, endless, text
from turnkeeper_api.console.gate import KEY_COOKIE, SIGNED_IN_SECONDS

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


async def test_who_signed_in_too_long_ago_is_asked_again_and_led_back(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with ScriptedModel() as model, desk(migrated_sqlite, redis_url, model, keys=True) as office:
        page = await office.signed_in("ana", "runs")
        await page.goto(f"{office.url}/runs?status=failed")
        await expect(page.get_by_text("There are no runs like that.")).to_be_visible()
        (cookie,) = [one for one in await page.context.cookies() if one["name"] == KEY_COOKIE]
        assert cookie["expires"] - time.time() == pytest.approx(SIGNED_IN_SECONDS, abs=120)
        key = cookie["value"].partition(".")[2]
        # a browser that keeps a cookie for longer than it was told to
        old = f"{int(time.time()) - SIGNED_IN_SECONDS}.{key}"
        await page.context.add_cookies(
            [
                {
                    "name": KEY_COOKIE,
                    "value": old,
                    "domain": "127.0.0.1",
                    "path": "/console",
                    "expires": time.time() + SIGNED_IN_SECONDS,
                    "httpOnly": True,
                    "sameSite": "Strict",
                }
            ]
        )
        # the page asks for itself again, and finds out
        await expect(page.get_by_label("API key")).to_be_visible()
        await page.get_by_label("API key").fill(key)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page).to_have_url(f"{office.url}/runs?status=failed")


async def test_who_lacks_a_scope_sees_no_button_for_it_and_is_refused_without_one(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with (
        ScriptedModel(REFUND) as model,
        desk(migrated_sqlite, redis_url, model, keys=True) as office,
    ):
        approval = await office.parked("customer-42")
        page = await office.signed_in("eve", "approvals:read", "sessions")
        await page.goto(f"{office.url}/approvals/{approval}")
        await expect(page.locator("#detail")).to_contain_text("Your key may look, and not decide.")
        for name in ("Approve", "Reject"):
            await expect(page.get_by_role("button", name=name)).to_have_count(0)
        await expect(page.get_by_role("checkbox")).to_have_count(0)
        for name in ("Runs", "Workers"):
            await expect(page.get_by_role("link", name=name, exact=True)).to_have_count(0)
        await page.goto(f"{office.url}/sessions/customer-42")
        await expect(page.locator("#waiting")).to_contain_text("Waits for a person")
        await expect(page.get_by_role("button", name="Approve")).to_have_count(0)
        await expect(page.get_by_label("Message")).to_have_count(0)
        decision = {"decisions": [{"approval_id": approval, "decision": "approve"}]}
        run = (await office.worker.client.approval(approval)).run_id
        message = {"session_id": "s", "agent": "support", "text": "Hi", "key": "k"}
        for path, body in (("approvals/decide", decision), (f"runs/{run}/cancel", {}), ("runs", message)):
            # with all that a page of ours would send
            answer = await page.evaluate(
                """async ([path, body]) => {
                    const csrf = document.querySelector('meta[name="csrf"]').content;
                    const headers = { "Content-Type": "application/json", "X-CSRF-Token": csrf };
                    const answer = await fetch(path, { method: "POST", headers, body });
                    return [answer.status, (await answer.json()).code];
                }""",
                [f"{office.url}/{path}", json.dumps(body)],
            )
            assert answer == [403, "missing_scope"], path
        for path in ("runs", f"runs/{run}", "workers"):
            refused = await page.goto(f"{office.url}/{path}")
            assert refused is not None
            assert refused.status == 403, path
        assert (await office.worker.client.approval(approval)).status.value == "pending"


async def test_an_export_is_downloaded_whole_under_the_name_of_its_session(
    migrated_sqlite: str, redis_url: str, tmp_path: Path
) -> None:
    async with ScriptedModel() as model, desk(migrated_sqlite, redis_url, model) as office:
        client, name = office.worker.client, "customer/42 ä"
        # more than the page shows
        texts = [f"message {n} \U0001f642" for n in range(450)]
        for part in (texts[:300], texts[300:]):
            await client.session(name).add_items([{"role": "user", "content": one} for one in part])
        page = await office.page()
        await page.goto(f"{office.url}/sessions/customer%2F42%20%C3%A4")
        await expect(page.get_by_text("Only the newest items are shown")).to_be_visible()
        async with page.expect_download() as starting:
            await page.get_by_role("link", name="Export").click()
        download = await starting.value
        assert download.suggested_filename == "customer_42 ä.jsonl"
        path = tmp_path / "export.jsonl"
        await download.save_as(path)
        lines = path.read_text().splitlines()
        assert lines == [line async for line in client.export_session(name)]
        info = await client.import_session(lines, session_id="copy")
        assert info.items == len(texts)
        assert await client.session("copy").get_items() == await client.session(name).get_items()


async def test_a_run_is_cancelled_after_a_question_and_run_again_as_a_new_one(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with ScriptedModel(endless()) as model, desk(migrated_sqlite, redis_url, model) as office:
        client = office.worker.client
        run = await client.enqueue("customer-42", "Go on", agent="support", stream=True, metadata={"a": 1})
        await model.wait_for(1, within=PATIENCE_MS / 1000)
        page = await office.page()
        await page.goto(f"{office.url}/runs/{run.id}")
        await page.get_by_role("button", name="Cancel").click()
        await page.get_by_role("button", name="Keep it").click()
        await expect(page.locator("#confirm")).to_be_hidden()
        assert not (await run.get()).cancel_requested
        await page.get_by_role("button", name="Cancel").click()
        await page.get_by_role("button", name="Go on").click()
        await expect(page.locator("h1 .badge")).to_have_text("cancelled")
        model.script(text("Here."))
        await page.get_by_role("button", name="Run again as new").click()
        await expect(page.locator("h1")).to_contain_text("#2")
        await expect(page.locator("h1 .badge")).to_have_text("completed")
        await expect(page.locator("#run")).to_contain_text("Here.")
        again = (await client.runs("customer-42")).runs[0]
        assert page.url == f"{office.url}/runs/{again.id}"
        assert again.metadata == {"a": 1, "sent_by": "ana"}
