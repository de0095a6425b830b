"""A browser, or a skip that says why."""

from __future__ import annotations

import importlib.util

import pytest

NO_BROWSER = "no browser:"


@pytest.fixture(autouse=True)
def a_browser_is_here() -> None:
    """Skip the test where Chromium or Playwright is missing."""
    if importlib.util.find_spec("playwright") is None:
        pytest.skip(f"{NO_BROWSER} Playwright for Python is not installed; pip install playwright")
    from tests.fakes.browser import chromium

    if chromium() is None:
        pytest.skip(
            f"{NO_BROWSER} there is no Chromium; apt-get install chromium, or TURNKEEPER_TEST_CHROMIUM"
        )
