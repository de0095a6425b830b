"""The inbox: two who decide at once, edits and their diff, many at once, by keyboard alone, in doubt."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright", reason="no browser: Playwright for Python is not installed")

from playwright.async_api import expect

from tests.conformance.desk import LEASE_SECONDS
from tests.conformance.parking import Parking
from tests.fakes.browser import PATIENCE_MS, desk, shoot
from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import Reply, calls, text
from turnkeeper_storage.database import Database
from turnkeeper_storage.items import Json

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
expect.set_options(timeout=PATIENCE_MS)
REFUND = {"order_id": "7", "amount": 120, "reason": "broken"}
PRECISE = {**REFUND, "amount": 12345678901234567890}


def refunds(body: dict[str, Json]) -> Reply:
    """A refund for each message, then an answer."""
    newest = body["input"][-1]
    if newest.get("type") == "function_call_output":
        return text(f"I was told: {newest['output']}")
    return calls(("refund", REFUND))


async def test_of_two_who_decide_one_is_told_who_was_faster(migrated_sqlite: str, redis_url: str) -> None:
    async with (
        ScriptedModel(answer=refunds) as model,
        desk(migrated_sqlite, redis_url, model, keys=True) as office,
    ):
        approval = await office.parked("customer-42")
        ana, ben = [
            await office.signed_in(name, "approvals:read", "approvals:decide") for name in ("ana", "ben")
        ]
        for page in (ana, ben):
            # a key without the scope sees no runs
            await expect(page.get_by_role("link", name="Runs")).to_have_count(0)
            await page.goto(f"{office.url}/approvals/{approval}")
        # ben's page does not hear of it in time
        await ben.route("**/console/approvals/apr_*", lambda route: route.abort())
        await ana.get_by_role("button", name="Approve a").click()
        await expect(ana.locator("#banners")).to_contain_text("Decided.")
        await expect(ana.locator("#detail")).to_contain_text("ana approved it.")
        await ben.get_by_role("button", name="Reject r").click()
        await expect(ben.locator("#banners")).to_contain_text("Someone was faster: ana approved it.")
        await shoot(ben, "race")
        await ben.unroute("**/console/approvals/apr_*")
        await expect(ben.locator("#detail")).to_contain_text("ana approved it.")


async def test_who_looks_at_what_another_one_decides_is_told_at_once(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with ScriptedModel(answer=refunds) as model, desk(migrated_sqlite, redis_url, model) as office:
        approval = await office.parked("customer-42")
        page = await office.page()
        await page.goto(f"{office.url}/approvals/{approval}")
        await expect(page.get_by_role("button", name="Approve a")).to_be_visible()
        await office.worker.client.reject(approval, by="ben", reason="not twice")
        await expect(page.locator("#banners")).to_contain_text("Someone was faster: ben rejected it.")
        await expect(page.locator("#list")).to_contain_text("Nothing waits for a person.")


async def test_edited_arguments_are_shown_as_a_diff_and_the_tool_runs_with_them(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with ScriptedModel(answer=refunds) as model, desk(migrated_sqlite, redis_url, model) as office:
        approval = await office.parked("customer-42")
        page = await office.page()
        await page.goto(f"{office.url}/approvals")
        await page.get_by_role("link", name="refund").click()
        await expect(page).to_have_url(f"{office.url}/approvals/{approval}")
        await page.locator("#edit summary").click()
        amount = page.get_by_label("amount")
        await expect(amount).to_have_value("120")
        await amount.fill("1,5")
        await expect(page.locator("#diff")).to_contain_text("amount: this is no number.")
        await amount.fill("80.5")
        await expect(page.locator("#diff del")).to_have_text("120")
        await expect(page.locator("#diff ins")).to_have_text("80.5")
        await page.get_by_role("button", name="JSON").click()
        await expect(page.get_by_label("Arguments as JSON", exact=True)).to_have_value(
            '{\n  "order_id": "7",\n  "amount": 80.5,\n  "reason": "broken"\n}'
        )
        await page.get_by_role("button", name="Form").click()
        await page.get_by_label("Note, or the reason").fill("half of it")
        await shoot(page, "edit")
        await page.get_by_role("button", name="Approve a").click()
        detail = page.locator("#detail")
        await expect(detail).to_contain_text("ana approved it with other arguments.")
        await expect(detail.locator("ins")).to_have_text("80.5")
        await expect(detail).to_contain_text("“half of it”")
        await page.goto(f"{office.url}/sessions/customer-42")
        await expect(page.locator("#talk")).to_contain_text("I was told: 80.5 for order 7 were given back")


async def test_an_edit_of_one_argument_leaves_the_digits_of_the_others_alone(
    migrated_sqlite: str, redis_url: str
) -> None:
    script = (calls(("refund", PRECISE)), text("Done."))
    async with ScriptedModel(*script) as model, desk(migrated_sqlite, redis_url, model) as office:
        approval = await office.parked("customer-42")
        page = await office.page()
        await page.goto(f"{office.url}/approvals/{approval}")
        await page.locator("#edit summary").click()
        await page.get_by_label("reason", exact=False).first.fill("worn")
        await expect(page.locator("#diff dt")).to_have_text("reason")
        await page.get_by_role("button", name="Approve a").click()
        await expect(page.locator("#detail")).to_contain_text("ana approved it with other arguments.")
        decided = await office.worker.client.approval(approval)
        assert decided.edited_arguments == {**PRECISE, "reason": "worn"}


async def test_all_can_be_done_by_keyboard_alone(migrated_sqlite: str, redis_url: str) -> None:
    async with ScriptedModel(answer=refunds) as model, desk(migrated_sqlite, redis_url, model) as office:
        for name in ("one", "two", "three", "four"):
            await office.parked(name)
        page = await office.page()
        await page.goto(f"{office.url}/approvals")
        await expect(page.locator("html")).to_have_attribute("data-ready", "yes")
        entries = page.locator("#list .entry")
        await expect(entries).to_have_count(4)
        keys = page.keyboard
        await keys.press("?")
        await expect(page.locator("#help")).to_be_visible()
        await keys.press("Escape")
        await keys.press("/")
        await expect(page.get_by_label("Tool")).to_be_focused()
        await keys.press("Escape")
        for key in ("j", "x", "j", "x"):  # four and three
            await keys.press(key)
        await expect(page.locator("#selected")).to_have_text("2 selected")
        await keys.press("a")
        await expect(page.locator("#banners")).to_contain_text("2 are decided.")
        await expect(entries).to_have_count(2)
        for key in ("j", "j", "k"):
            await keys.press(key)
        await keys.press("Enter")
        await expect(page.locator("#detail")).to_contain_text("in session two")
        await expect(page.locator("html")).to_have_attribute("data-ready", "yes")
        await keys.press("e")
        await expect(page.get_by_label("order id")).to_be_focused()
        await keys.press("Escape")
        await keys.press("r")
        await expect(page.get_by_label("Reason; the model is told it")).to_be_focused()
        await keys.type("not today")
        await keys.press("Tab")
        await keys.press("Tab")
        await keys.press("Enter")
        await expect(page.locator("#detail")).to_contain_text("ana rejected it.")
        await expect(page.locator("#detail")).to_contain_text("“not today”")
        await expect(entries).to_have_count(1)


async def test_many_are_selected_and_decided_together_by_mouse_and_by_keys(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with ScriptedModel(answer=refunds) as model, desk(migrated_sqlite, redis_url, model) as office:
        ids = [await office.parked(f"customer-{n}") for n in range(5)]
        client = office.worker.client
        page = await office.page()
        await page.goto(f"{office.url}/approvals")
        entries = page.locator("#list .entry")
        await expect(entries).to_have_count(5)
        approve, reject = [page.locator(f"#{name}-selected") for name in ("approve", "reject")]
        await expect(approve).to_be_disabled()
        for n in (0, 1):
            await page.get_by_label(f"Select refund of customer-{n}").check()
        await expect(page.locator("#selected")).to_have_text("2 selected")
        # somebody else is faster with one of them, and this page does not hear of it in time
        await page.route("**/console/approvals", lambda route: route.abort())
        await client.reject(ids[1], by="ben")
        await approve.click()
        await expect(page.locator("#banners")).to_contain_text(
            "1 of 2 was not decided: Someone was faster: ben rejected it."
        )
        await page.unroute("**/console/approvals")
        await expect(entries).to_have_count(3)
        await expect(page.locator("#selected")).to_have_text("Select all")
        await page.keyboard.press("j")
        await page.keyboard.press("x")
        await page.keyboard.press("r")
        await page.get_by_label("Reason; the model is told it").fill("too late")
        await page.locator("#reject").get_by_role("button", name="Reject").click()
        await expect(entries).to_have_count(2)
        await page.get_by_label("Select all").check()
        await expect(page.locator("#selected")).to_have_text("2 selected")
        await reject.click()
        await page.get_by_role("button", name="Keep waiting").click()
        await expect(page.locator("#reject")).to_be_hidden()
        await expect(entries).to_have_count(2)
        await approve.click()
        await expect(page.locator("#banners")).to_contain_text("2 are decided.")
        await expect(page.locator("#list")).to_contain_text("Nothing waits for a person.")
        found = [await client.approval(one) for one in ids]
        assert [(one.status.value, one.decided_by, one.note) for one in found] == [
            ("approved", "ana", None),
            ("rejected", "ben", None),
            ("approved", "ana", None),
            ("approved", "ana", None),
            ("rejected", "ana", "too late"),
        ]


async def test_the_detail_has_what_a_decision_needs(migrated_sqlite: str, redis_url: str) -> None:
    async with ScriptedModel(answer=refunds) as model, desk(migrated_sqlite, redis_url, model) as office:
        run = await office.worker.client.enqueue(
            "customer-42", "It came broken, refund it", agent="support", metadata={"sent_by": "mia"}
        )
        approval = (await run.wait(PATIENCE_MS / 1000)).approvals[0]
        page = await office.page()
        await page.goto(f"{office.url}/approvals/{approval.id}")
        detail = page.locator("#detail")
        for said in (
            "The agent support wants to call refund: Give the customer the money back.",
            "in session customer-42, run, for mia.",
            "It came broken, refund it",
        ):
            await expect(detail).to_contain_text(said)
        await expect(detail.locator(".facts").first.locator("dt")).to_have_text(
            ["order id", "amount", "reason"]
        )
        await expect(detail.locator("time").first).to_have_attribute("datetime", re.compile(r"^\d{4}-"))
        await detail.get_by_text("Arguments as JSON", exact=True).last.click()
        await expect(detail.locator("pre").first).to_contain_text('"amount": 120')
        await detail.get_by_role("link", name="run", exact=True).click()
        await expect(page).to_have_url(f"{office.url}/runs/{run.id}")


async def test_the_time_that_is_left_counts_down(migrated_sqlite: str, redis_url: str) -> None:
    database = Database(migrated_sqlite, lease_seconds=LEASE_SECONDS)
    try:
        approval = (await Parking(database).parked(expires_in=3600.0)).approvals[0]
    finally:
        await database.aclose()
    async with ScriptedModel() as model, desk(migrated_sqlite, redis_url, model) as office:
        page = await office.page()
        await page.goto(f"{office.url}/approvals/{approval.id}")
        left = page.locator("#detail [data-until]")
        await expect(left).to_contain_text("expires in 59 min")
        before = await left.text_content()
        await expect(left).not_to_have_text(before or "")


@pytest.mark.parametrize(
    ("button", "told", "outcome"),
    [
        ("It happened", "ana said that it had happened.", "happened"),
        ("It did not: run it", "ana said that it had not happened.", "not_happened"),
        ("Abort the run", "ana aborted the run.", "abort"),
    ],
)
async def test_a_person_says_what_became_of_a_call_in_doubt(
    migrated_sqlite: str, redis_url: str, button: str, told: str, outcome: str
) -> None:
    database = Database(migrated_sqlite, lease_seconds=LEASE_SECONDS)
    try:
        approval = (await Parking(database).in_doubt()).approvals[0]
    finally:
        await database.aclose()
    async with (
        ScriptedModel(answer=lambda body: text("Then all is well.")) as model,
        desk(migrated_sqlite, redis_url, model) as office,
    ):
        page = await office.page()
        await page.goto(f"{office.url}/approvals/{approval.id}")
        await expect(page.locator("#detail")).to_contain_text("Nobody here knows whether it took effect")
        await shoot(page, "in-doubt")
        await page.get_by_label("If it happened").fill("refunded, number 77")
        await page.get_by_role("button", name=button).click()
        await expect(page.locator("#detail")).to_contain_text(told)
        decided = await office.worker.client.approval(approval.id)
        assert (decided.decided_by, decided.outcome) == ("ana", outcome)
        calls_ = await office.worker.client.tool_calls(approval.run_id)
        assert (calls_[0].output == "refunded, number 77") == (outcome == "happened")
