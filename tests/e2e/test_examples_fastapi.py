"""examples/fastapi_chat as its page uses it: uvicorn, a worker process, the practice model."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import httpx2
import pytest

from tests.fakes.api import EventReader, Told
from tests.fakes.backend_site import make_backends
from tests.fakes.processes import ROOT, Processes
from tests.fakes.wait import eventually_sync

WEB = ROOT / "examples/fastapi_chat/web"
ANA = ("ana", "let me in")


@pytest.fixture
def url(migrated_sqlite: str, redis_url: str, processes: Processes) -> str:
    backends = make_backends(processes, migrated_sqlite, redis_url, "examples.fastapi_chat.agents")
    app = ("-m", "uvicorn", "examples.fastapi_chat.app:app", "--port", "0")
    listens = r"Uvicorn running on (http://\S+)"
    return backends.start(*app, listens=listens, CHAT_DESK_PASSWORD=ANA[1])[1]


@pytest.fixture
def customer(url: str) -> Iterator[httpx2.Client]:
    """A browser that opened the page."""
    with httpx2.Client(base_url=url, timeout=30) as browser:
        assert browser.get("/").status_code == 200
        yield browser


def send(customer: httpx2.Client, text: str, request_id: str = "request-1") -> str:
    answer = customer.post("/messages", json={"text": text, "request_id": request_id})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["run_id"])


def follow(
    customer: httpx2.Client, run: str, *, after: str | None = None, until: str = "run.completed"
) -> list[Told]:
    """The events up to one of that type, and no more of the stream than that."""
    headers = {} if after is None else {"Last-Event-ID": after}
    reader, told = EventReader(), list[Told]()
    with customer.stream("GET", f"/runs/{run}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for piece in answer.iter_raw():
            told += reader.read(piece)
            names = [event.type for event in told]
            if until in names:
                return told[: names.index(until) + 1]
    raise AssertionError(f"the stream ended before {until}: {told}")


def texts(told: list[Told]) -> str:
    return "".join(event.data["text"] for event in told if event.type == "delta.text")


def test_a_message_is_answered_piece_by_piece_and_who_comes_back_goes_on_where_he_was(
    customer: httpx2.Client,
) -> None:
    run = send(customer, "Where is order 7?")
    assert send(customer, "Where is order 7?") == run
    told = follow(customer, run)
    answer = customer.get(f"/runs/{run}").json()
    assert answer["status"] == "completed"
    assert "leaves the warehouse today" in answer["answer"]
    assert texts(told) == answer["answer"]

    half = [event.type for event in told].index("turn.finished")
    again = follow(customer, run, after=told[half].id)
    durable = [event.id for event in told[half + 1 :] if not event.type.startswith("delta.")]
    assert [event.id for event in again if not event.type.startswith("delta.")] == durable
    assert texts(again) == texts(told[half + 1 :])
    over = customer.get(f"/runs/{run}/events", headers={"Last-Event-ID": told[-1].id})
    assert over.status_code == 204


def test_a_refund_waits_for_a_colleague_and_the_same_stream_tells_the_rest(
    customer: httpx2.Client, url: str
) -> None:
    run = send(customer, "Please refund order 7, 12.50 EUR")
    asked = follow(customer, run, until="approval.requested")
    assert customer.get("/approvals").status_code == 401
    with httpx2.Client(base_url=url, timeout=30, auth=ANA) as colleague:
        assert colleague.get("/desk").status_code == 200
        listed = eventually_sync(lambda: colleague.get("/approvals").json())
        assert [(one["tool"], one["arguments"]["amount"]) for one in listed] == [("refund", 12.5)]
        path, yes = f"/approvals/{listed[0]['id']}", {"decision": "approve", "note": "seen"}
        assert customer.post(path, json=yes).status_code == 401
        assert colleague.post(path, json=yes).json() == {"status": "approved", "decided_by": "ana"}
        assert colleague.post(path, json={"decision": "reject"}).status_code == 409
    rest = follow(customer, run, after=asked[-1].id)
    assert "approval.decided" in [event.type for event in rest]
    assert "Paid 12.50 euros back for order 7." in customer.get(f"/runs/{run}").json()["answer"]


def test_a_refund_that_is_rejected_is_not_paid(customer: httpx2.Client, url: str) -> None:
    run = send(customer, "Please refund order 7, 12.50 EUR")
    follow(customer, run, until="approval.requested")
    with httpx2.Client(base_url=url, timeout=30, auth=ANA) as colleague:
        (one,) = colleague.get("/approvals").json()
        answer = colleague.post(f"/approvals/{one['id']}", json={"decision": "reject", "note": "too old"})
        assert answer.json()["status"] == "rejected"
    follow(customer, run)
    said = customer.get(f"/runs/{run}").json()["answer"]
    assert "too old" in said
    assert "Paid" not in said


def test_nobody_sees_the_run_of_somebody_else(customer: httpx2.Client, url: str) -> None:
    run = send(customer, "hello")
    with httpx2.Client(base_url=url, timeout=30) as other:
        assert other.get(f"/runs/{run}").status_code == 401
        other.get("/")
        assert other.get(f"/runs/{run}").status_code == 404
        assert other.get(f"/runs/{run}/events").status_code == 404


def test_the_pages_load_what_there_is_and_nothing_from_elsewhere(customer: httpx2.Client) -> None:
    page = customer.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for name in ("chat", "desk"):
        text = (WEB / f"{name}.html").read_text(encoding="utf-8")
        assert re.findall(r'src="([^"]+)"', text) == [f"web/{name}.js"]
        script = customer.get(f"/web/{name}.js")
        assert "javascript" in script.headers["content-type"]
        assert "innerHTML" not in script.text
    assert customer.get("/web/call.js").status_code == 200


@pytest.mark.parametrize("script", sorted(WEB.glob("*.js")), ids=lambda script: script.name)
def test_the_scripts_can_be_read_by_an_engine(script: object) -> None:
    words = ["node", "--experimental-default-type=module", "--check", str(script)]
    try:
        done = subprocess.run(words, capture_output=True, timeout=30, check=False)
    except FileNotFoundError:
        pytest.skip("no node is installed here")
    assert done.returncode == 0, done.stderr.decode()
