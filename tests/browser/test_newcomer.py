"""`turnkeeper dev` as a newcomer sees it in the browser: nothing is set up, and nothing was read before."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="no browser: Playwright for Python is not installed")

from playwright.async_api import expect

from tests.fakes.browser import PATIENCE_MS, a_browser
from tests.fakes.dev import Dev, write_agents

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    write_agents(tmp_path)
    started = Dev(tmp_path, "--no-reload")
    yield started
    started.end()


async def test_the_first_page_leads_a_newcomer_to_an_approval_and_past_it(dev: Dev) -> None:
    await asyncio.to_thread(dev.wait_for, "| ready. In another terminal", within=90)
    found = re.search(r"in a browser: (http://127\.0\.0\.1:\d+/)", dev.output)
    assert found is not None, dev.output
    async with a_browser() as browser:
        page = await browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        await page.goto(found[1])
        await expect(page.get_by_role("heading", name="What happens then")).to_be_visible()
        await expect(page.get_by_label("Message")).to_have_value("Refund order 7")
        await page.get_by_role("button", name="Send").click()
        await page.get_by_role("button", name="Approve").click()
        await expect(page.locator("#talk")).to_contain_text("order 7 was refunded")
        await expect(page.locator("#side")).to_contain_text("No run waits or works.")
        await page.goto(f"{found[1]}docs")
        await page.get_by_role("link", name="Console").click()
        await expect(page.get_by_role("heading", name="What happens then")).to_be_visible()
