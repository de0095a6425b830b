"""examples/flask_support as somebody runs it: gunicorn, a worker process, the practice model."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from tests.fakes.api import EventReader, Told
from tests.fakes.backend_site import make_backends
from tests.fakes.processes import Processes

HELLO = {"text": "Where is order 7?"}


@pytest.fixture
def url(migrated_sqlite: str, redis_url: str, processes: Processes) -> str:
    backends = make_backends(processes, migrated_sqlite, redis_url, "examples.support_desk.agents")
    return backends.gunicorn("--threads", "4", "examples.flask_support.app:app")[1]


@pytest.fixture
def customer(url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=url, timeout=30) as browser:
        yield browser


def events(customer: httpx2.Client, run: str, after: str | None = None) -> tuple[int, list[Told]]:
    """The status of the stream, and what it told to its end."""
    answer = customer.get(f"/runs/{run}/events", headers={"Last-Event-ID": after} if after else {})
    return answer.status_code, EventReader().read(answer.content)


def test_a_question_is_answered_once_however_often_it_is_sent(customer: httpx2.Client) -> None:
    asked = customer.post("/questions", json=HELLO, headers={"Idempotency-Key": "request-1"})
    assert asked.status_code == 202
    again = customer.post("/questions", json=HELLO, headers={"Idempotency-Key": "request-1"})
    assert again.json() == asked.json()
    answer = customer.get(asked.headers["Location"], params={"wait": 20}).json()
    assert answer["status"] == "completed"
    assert "Order 7 is packed and leaves today." in answer["answer"]


def test_the_answer_is_streamed_and_who_comes_back_is_told_the_rest(customer: httpx2.Client) -> None:
    run = str(customer.post("/questions", json=HELLO).json()["run_id"])
    status, told = events(customer, run)
    assert status == 200
    assert told[-1].type == "run.completed"
    answer = customer.get(f"/runs/{run}").json()["answer"]
    assert "".join(one.data["text"] for one in told if one.type == "delta.text") == answer
    status, rest = events(customer, run, after=told[0].id)
    durable = [one.id for one in told[1:] if not one.type.startswith("delta.")]
    assert [one.id for one in rest if not one.type.startswith("delta.")] == durable
    assert events(customer, run, after=told[-1].id) == (204, [])


def test_what_is_no_question_or_of_somebody_else_is_refused(customer: httpx2.Client, url: str) -> None:
    assert customer.post("/questions", json={"text": " "}).status_code == 422
    run = customer.post("/questions", json=HELLO).json()["run_id"]
    with httpx2.Client(base_url=url, timeout=30) as other:
        assert other.get(f"/runs/{run}").status_code == 404
        assert other.get(f"/runs/{run}/events").status_code == 404
