"""What holds on every page: hostile text stays text, axe finds no serious fault, nothing is cut off."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

pytest.importorskip("playwright", reason="no browser: Playwright for Python is not installed")

from playwright.async_api import Page, expect

from tests.fakes.browser import PATIENCE_MS, Office, Scheme, desk, shoot
from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import Reply, calls, text
from turnkeeper_storage.items import Json

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
expect.set_options(timeout=PATIENCE_MS)
HOSTILE = (
    "<script>window.hit=1</script>",
    '"><img src=x onerror="window.hit=1">',
    "'><svg/onload=window.hit=1>",
    "</textarea><script>window.hit=1</script>",
    "</pre></details><iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "{{ 7*7 }}{% raw %}javascript:window.hit=1//",
    "\u202ertl",
)
EVIL = " ".join(HOSTILE)
WIDTHS = (360, 1440)


def helpful(body: dict[str, Json]) -> Reply:
    """A refund where one is asked for, an answer otherwise."""
    newest = body["input"][-1]
    if newest.get("role") == "user" and "Refund" in str(newest.get("content")):
        arguments = {"order_id": "7", "amount": 120, "reason": "it was broken on arrival " * 12}
        return calls(("order_status", {"order_id": "7"}), ("refund", arguments), reasoning="Look first.")
    return text("All is done. " * 20)


def hostile(body: dict[str, Json]) -> Reply:
    newest = body["input"][-1]
    if newest.get("role") == "user":
        return calls(
            ("order_status", {"order_id": EVIL}),
            ("refund", {"order_id": EVIL, "amount": 1, "reason": EVIL, EVIL[:60]: EVIL}),
            # no tool has this name
            (HOSTILE[1], {}),
            message=EVIL,
            reasoning=EVIL,
        )
    return text(EVIL)


@contextlib.asynccontextmanager
async def filled(url: str, redis_url: str) -> AsyncIterator[tuple[Office, dict[str, str]]]:
    """An office where something has happened; its pages by name."""
    async with ScriptedModel(answer=helpful) as model, desk(url, redis_url, model) as office:
        first = await office.parked("customer-42")
        await office.parked("customer-7-with-a-name-that-is-quite-long-and-has-no-space-in-it-at-all")
        done = await office.worker.client.enqueue("customer-1", "Hello", agent="support")
        await done.wait(PATIENCE_MS / 1000)
        run = (await office.worker.client.approval(first)).run_id
        base = office.url
        yield (
            office,
            {
                "start": base,
                "approvals": f"{base}/approvals",
                "approval": f"{base}/approvals/{first}",
                "runs": f"{base}/runs",
                "run": f"{base}/runs/{run}",
                "sessions": f"{base}/sessions",
                "session": f"{base}/sessions/customer-42",
                "workers": f"{base}/workers",
                "nothing": f"{base}/nothing",
            },
        )


async def opened(page: Page, url: str) -> None:
    await page.goto(url)
    await expect(page.locator("html")).to_have_attribute("data-ready", "yes")


async def check(page: Page, name: str) -> None:
    """Nothing on the page is cut off at its right edge, and axe finds no serious fault."""
    axe_module = pytest.importorskip("axe_playwright_python.async_playwright")
    width = page.viewport_size["width"] if page.viewport_size else 0
    extent = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert extent[0] <= extent[1], (name, width, extent)
    found = (await axe_module.Axe().run(page)).response["violations"]
    serious = [
        (name, width, one["id"], [node["html"][:200] for node in one["nodes"]][:3])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_no_serious_fault_and_nothing_is_wider_than_the_window(
    migrated_sqlite: str, redis_url: str, scheme: Scheme
) -> None:
    async with filled(migrated_sqlite, redis_url) as (office, pages):
        for width in WIDTHS:
            page = await office.page(width, 900, scheme)
            for name, url in pages.items():
                await opened(page, url)
                if name == "approval":
                    await page.locator("#edit summary").click()
                await shoot(page, f"{name}-{width}-{scheme}")
                await check(page, name)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_way_in_and_what_opens_over_a_page_are_no_worse(
    migrated_sqlite: str, redis_url: str, scheme: Scheme
) -> None:
    async with (
        ScriptedModel(answer=helpful) as model,
        desk(migrated_sqlite, redis_url, model, keys=True) as office,
    ):
        approval = await office.parked("customer-42")
        key = (await office.worker.client.create_api_key("ana", ["admin"])).text
        for width in WIDTHS:
            page = await office.page(width, 900, scheme)
            await opened(page, f"{office.url}/approvals/{approval}")
            await page.get_by_label("API key").fill("tk_wrong")
            await page.get_by_role("button", name="Sign in").click()
            await expect(page.locator("#wrong")).not_to_be_empty()
            await shoot(page, f"sign-in-{width}-{scheme}")
            await check(page, "sign-in")
            await page.get_by_label("API key").fill(key)
            await page.get_by_role("button", name="Sign in").click()
            await expect(page.get_by_role("button", name="Sign out")).to_be_visible()
            await page.wait_for_load_state("load")  # with what listens to keys
            await page.keyboard.press("?")
            await expect(page.locator("#help")).to_be_visible()
            await check(page, "help")
            await page.keyboard.press("Escape")
            await page.keyboard.press("r")
            await expect(page.locator("#reject")).to_be_visible()
            await check(page, "reject")
            await page.get_by_role("button", name="Keep waiting").click()
            await opened(page, f"{office.url}/sessions/customer-42")
            await page.get_by_role("button", name="Delete").click()
            await expect(page.locator("#confirm")).to_be_visible()
            await check(page, "confirm")
            await page.get_by_role("button", name="Keep it").click()
            await page.get_by_role("button", name="Clear").click()
            await page.get_by_role("button", name="Go on").click()
            await expect(page.locator("#banners .bad")).to_be_visible()  # a run has the session
            await check(page, "banner")


async def test_what_models_tools_and_people_write_stays_text(migrated_sqlite: str, redis_url: str) -> None:
    session = EVIL[:250]
    async with ScriptedModel(answer=hostile) as model, desk(migrated_sqlite, redis_url, model) as office:
        client = office.worker.client
        await client.update_session(session, owner=session, metadata={session[:90]: session})
        handle = await client.enqueue(
            session, EVIL, agent="support", stream=True, metadata={"sent_by": session, "more": EVIL}
        )
        snapshot = await handle.wait(PATIENCE_MS / 1000)
        approval = snapshot.approvals[0].id
        page = await office.page()
        base, part = office.url, quote(session, safe="")

        async def look(url: str, *, is_listed: bool = True) -> None:
            await opened(page, url)
            assert await page.evaluate("window.hit") is None
            strange = "main img, main iframe, main script, svg[onload], [onerror], a[href^='javascript']"
            assert await page.locator(strange).count() == 0
            if is_listed:
                await expect(page.locator("body")).to_contain_text("<script>window.hit=1</script>")

        waits = [f"approvals/{approval}", f"runs/{handle.id}", "runs", "sessions", f"sessions/{part}"]
        for path in (*waits, f"runs?session={part}", f"sessions?owner={part}"):
            await look(f"{base}/{path}")
        for path in (
            f"approvals?tool={part}",
            f"runs?agent={part}",
            f"approvals/{part}",
            f"sessions/{part}x",
        ):
            await look(f"{base}/{path}", is_listed=False)
        await opened(page, f"{base}/approvals/{approval}")
        await page.locator("#edit summary").click()
        await page.get_by_label("reason", exact=False).first.fill(f"{HOSTILE[1]} more")
        await expect(page.locator("#diff ins")).to_contain_text("more")
        await client.reject(approval, by=session, reason=EVIL)
        await expect(page.locator("#banners")).to_contain_text("Someone was faster")
        assert await page.evaluate("window.hit") is None
        await client.wait(handle.id, PATIENCE_MS / 1000)
        for path in (f"approvals/{approval}?status=all", f"sessions/{part}", f"runs/{handle.id}"):
            await look(f"{base}/{path}")
