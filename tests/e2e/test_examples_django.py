"""examples/django_shop as somebody runs it: manage.py, gunicorn, a worker process, the practice model."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.fakes.backend_site import Backends, make_backends
from tests.fakes.processes import ROOT, Processes
from tests.fakes.wait import eventually_sync

FOLDER = ROOT / "examples/django_shop"


@pytest.fixture
def backends(migrated_sqlite: str, redis_url: str, processes: Processes) -> Backends:
    return make_backends(processes, migrated_sqlite, redis_url, "examples.support_desk.agents")


@pytest.fixture
def url(backends: Backends, tmp_path: Path) -> str:
    shop = {"SHOP_DATABASE": str(tmp_path / "shop.sqlite3"), "SHOP_SECRET_KEY": "of this test"}
    words = (sys.executable, str(FOLDER / "manage.py"), "migrate", "--run-syncdb")
    migrated = backends.site.processes(*words, env={**backends.site.env, **shop})
    assert migrated.wait(60) == 0, migrated.log
    return backends.gunicorn("--chdir", str(FOLDER), "--threads", "4", "wsgi", **shop)[1]


@pytest.fixture
def customer(url: str) -> Iterator[httpx2.Client]:
    """A browser that entered the shop."""
    with entered(url) as browser:
        yield browser


@contextlib.contextmanager
def entered(url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=url, timeout=30) as browser:
        welcome = browser.get("/")
        assert welcome.status_code == 200, welcome.text
        browser.headers["X-CSRFToken"] = browser.cookies["csrftoken"]
        yield browser


def answered(customer: httpx2.Client, path: str) -> str:
    def look() -> str | None:
        run = customer.get(path).json()
        return str(run["answer"]) if run["status"] == "completed" else None

    return str(eventually_sync(look, within=30, every=0.1))


def test_a_question_is_answered_and_its_events_are_polled(customer: httpx2.Client) -> None:
    question = {"text": "Where is order 7?", "request_id": "request-1"}
    asked = customer.post("/questions", data=question)
    assert asked.status_code == 202, asked.text
    assert customer.post("/questions", data=question).json() == asked.json()
    path = asked.headers["Location"]
    assert "Order 7 is packed and leaves today." in answered(customer, path)
    told = customer.get(f"{path}/events").json()["events"]
    assert (told[0]["type"], told[-1]["type"]) == ("run.queued", "run.completed")
    rest = customer.get(f"{path}/events", params={"after": told[0]["cursor"]}).json()["events"]
    assert rest == told[1:]


def test_an_order_is_confirmed_by_one_run_however_often_it_is_sent(customer: httpx2.Client) -> None:
    order = {"number": "b51c", "article": "a blue teapot"}
    placed = customer.post("/orders", data=order)
    assert placed.status_code == 202, placed.text
    assert customer.post("/orders", data=order).json() == placed.json()
    assert "a blue teapot" in answered(customer, placed.headers["Location"])


def test_what_lacks_a_token_or_belongs_to_somebody_else_is_refused(customer: httpx2.Client, url: str) -> None:
    order = {"number": "b51c", "article": "a blue teapot"}
    placed = customer.post("/orders", data=order)
    assert customer.post("/orders", data=order, headers={"X-CSRFToken": ""}).status_code == 403
    with entered(url) as other:
        assert other.get(placed.headers["Location"]).status_code == 404
        assert other.post("/orders", data=order).status_code == 404
