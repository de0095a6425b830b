"""The console in a real browser: a worker, the API, and people in front of Debian's Chromium.

async with desk(url, redis_url, model) as office:
    page = await office.page()
    await page.goto(f"{office.url}/approvals")

TURNKEEPER_TEST_CHROMIUM names another browser; in the folder TURNKEEPER_TEST_SHOTS pictures are kept.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, Page, async_playwright

from tests.fakes.api import serving
from tests.fakes.model_server import ScriptedModel
from tests.fakes.worker import Worker, running_worker
from turnkeeper_api import create_app
from turnkeeper_api.loopback import anybody_here
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.tools import tool

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# of a loaded machine
PATIENCE_MS = 30_000
Scheme = Literal["light", "dark"]


@tool
async def order_status(order_id: str) -> str:
    """Look an order up."""
    return f"order {order_id} is on its way"


@tool(needs_approval=True)
async def refund(order_id: str, amount: float, reason: str) -> str:
    """Give the customer the money back."""
    return f"{amount:g} for order {order_id} were given back"


SUPPORT = Agent(name="support", model="gpt-5.2", instructions="Help.", tools=[order_status, refund])


def chromium() -> str | None:
    """Where the browser is; None where there is none."""
    named = os.environ.get("TURNKEEPER_TEST_CHROMIUM")
    return named or shutil.which("chromium") or shutil.which("chromium-browser")


@dataclass(slots=True)
class Office:
    """`url` is the console's."""

    url: str
    worker: Worker
    browser: Browser

    async def page(self, width: int = 1280, height: int = 900, scheme: Scheme = "light") -> Page:
        """Somebody with a browser of his own: nothing is shared with others."""
        context = await self.browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB"
        )
        context.set_default_timeout(PATIENCE_MS)
        return await context.new_page()

    async def signed_in(self, name: str, *scopes: str) -> Page:
        """Somebody's browser, after signing in with a key of his own of these scopes."""
        made = await self.worker.client.create_api_key(name, scopes)
        page = await self.page()
        await page.goto(f"{self.url}/sign-in")
        await page.get_by_label("API key").fill(made.text)
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_role("button", name="Sign out").wait_for()
        return page

    async def parked(self, session_id: str, text: str = "Refund order 7, please") -> str:
        """The id of the approval that a new run of the session waits for."""
        run = await self.worker.client.enqueue(session_id, text, agent="support", stream=True)
        snapshot = await run.wait(PATIENCE_MS / 1000)
        return snapshot.approvals[0].id


@contextlib.asynccontextmanager
async def a_browser() -> AsyncIterator[Browser]:
    """Chromium without a window."""
    path = chromium()
    assert path is not None
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def desk(
    url: str,
    redis_url: str,
    model: ScriptedModel,
    *,
    keys: bool = False,
    agents: Sequence[Agent] = (),
    sweep_seconds: float = 60.0,
) -> AsyncIterator[Office]:
    """All of it until the block ends; with `keys` people sign in, else whoever comes is ana.

    `agents` instead of SUPPORT.
    """
    async with contextlib.AsyncExitStack() as stack:
        browser = await stack.enter_async_context(a_browser())
        worker = await stack.enter_async_context(
            running_worker(
                url, model, agents=agents or [SUPPORT], redis_url=redis_url, sweep_seconds=sweep_seconds
            )
        )
        authenticate = None if keys else anybody_here("default", "ana")
        app = create_app(client=worker.client, authenticate=authenticate)
        base = await stack.enter_async_context(serving(app))
        yield Office(f"{base}/console", worker, browser)


def shots() -> Path | None:
    """Where screenshots are kept; None for nowhere."""
    named = os.environ.get("TURNKEEPER_TEST_SHOTS")
    return Path(named) if named else None


async def shoot(page: Page, name: str) -> None:
    """Keep a picture of the page, if pictures are wanted."""
    folder = shots()
    if folder is not None:
        await page.screenshot(path=folder / f"{name}.png", full_page=True)
