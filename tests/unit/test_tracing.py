"""One trace of a run, from its enqueue through workers, pauses and decisions to its end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import HttpError, calls, text
from tests.fakes.telemetry import Spans, attributes_of, collecting_spans
from tests.fakes.wait import eventually
from tests.fakes.worker import Worker, running_worker
from turnkeeper_client import AsyncClient
from turnkeeper_client.snapshots import RunSnapshot
from turnkeeper_storage import tracing
from turnkeeper_storage.errors import ApprovalConflict
from turnkeeper_storage.log_context import RunPlace, run_place
from turnkeeper_storage.model import RunStatus
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.expiry import expire_due
from turnkeeper_worker.tools import tool

STRETCH = "invoke_agent support"


@tool(needs_approval=True)
async def refund(order: int) -> str:
    """Refund an order."""
    return f"refunded {order}"


@tool
async def look(what: str) -> str:
    """Look something up."""
    if what == "nothing":
        raise LookupError("a secret that nobody may see")
    return f"saw {what}"


AGENT = Agent(name="support", model="gpt-5.2", tools=[refund, look], instructions="Be kind.")


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    with collecting_spans(monkeypatch) as collected:
        yield collected


async def asked_and_ended(worker: Worker, message: str = "hello") -> RunSnapshot:
    run = await worker.client.enqueue("customer-42", message, agent="support")
    snapshot = await run.wait(10)
    await eventually(lambda: worker.holds == 0)
    return snapshot


async def test_a_run_with_a_tool_is_one_trace_of_nested_spans(migrated_sqlite: str, spans: Spans) -> None:
    async with (
        ScriptedModel(calls(("look", {"what": "it"}, "c1")), text("Done.")) as model,
        running_worker(migrated_sqlite, model, agents=[AGENT]) as worker,
    ):
        await asked_and_ended(worker)

    parents = [(span.name, spans.parent_of(span)) for span in spans.all()]
    assert sorted(parents, key=str) == sorted(
        [
            ("enqueue support", None),
            (STRETCH, "enqueue support"),
            ("claim", STRETCH),
            ("turn 1", STRETCH),
            ("chat gpt-5.2", "turn 1"),
            ("execute_tool look", "turn 1"),
            ("turn 2", STRETCH),
            ("chat gpt-5.2", "turn 2"),
            ("finish", STRETCH),
        ],
        key=str,
    )
    assert len(spans.traces()) == 1


async def test_a_run_that_is_decided_on_goes_on_in_its_trace_on_another_worker(
    migrated_url: str, spans: Spans
) -> None:
    async with ScriptedModel(calls(("refund", {"order": 7}, "c1")), text("Done.")) as model:
        async with running_worker(migrated_url, model, agents=[AGENT]) as first:
            run = await first.client.enqueue("customer-42", "Refund it", agent="support")
            parked = await run.wait(10)
            assert parked.status is RunStatus.AWAITING_APPROVAL
            await eventually(lambda: first.holds == 0)
        # another process, another day: nothing is left but the database
        async with running_worker(migrated_url, model, agents=[AGENT]) as second:
            with trace.get_tracer("site").start_as_current_span("POST /decisions") as request:
                await second.client.approve(parked.approvals[0].id, by="ana@shop.example")
            assert (await second.client.wait(run.id, 10)).status is RunStatus.COMPLETED
            await eventually(lambda: second.holds == 0)

    enqueued, decided = spans.one("enqueue support"), spans.one("decide refund")
    before, after = spans.named(STRETCH)
    assert {trace_of(span) for span in (enqueued, before, decided, after)} == {trace_of(enqueued)}
    assert spans.names().index("park") < spans.names().index("decide refund")
    assert spans.parent_of(spans.one("execute_tool refund")) == "turn 1"
    assert attributes_of(before)["turnkeeper.run.status"] == "awaiting_approval"
    assert attributes_of(after)["turnkeeper.run.status"] == "completed"
    # and the decision and the request that it came with lead to each other
    asked = spans.one("POST /decisions")
    assert [link.context.span_id for link in decided.links] == [request.get_span_context().span_id]
    assert [link.context.span_id for link in asked.links] == [span_id(decided)]
    assert trace_of(asked) != trace_of(decided)


async def test_spans_have_the_attributes_of_the_genai_conventions(migrated_sqlite: str, spans: Spans) -> None:
    async with (
        ScriptedModel(calls(("look", {"what": "it"}, "c1")), text("Done.")) as model,
        running_worker(migrated_sqlite, model, agents=[AGENT]) as worker,
    ):
        snapshot = await asked_and_ended(worker)

    stretch = attributes_of(spans.one(STRETCH))
    assert stretch["gen_ai.operation.name"] == "invoke_agent"
    assert stretch["gen_ai.agent.name"] == "support"
    assert stretch["gen_ai.conversation.id"] == "customer-42"
    assert stretch["turnkeeper.run.id"] == snapshot.id
    assert stretch["gen_ai.usage.input_tokens"] == snapshot.usage.input_tokens > 0
    chat = attributes_of(spans.named("chat gpt-5.2")[0])
    assert chat["gen_ai.operation.name"] == "chat"
    assert chat["gen_ai.provider.name"] == "openai"
    assert chat["gen_ai.request.model"] == "gpt-5.2"
    assert chat["gen_ai.usage.output_tokens"] > 0
    assert chat["gen_ai.response.id"].startswith("resp_")
    called = attributes_of(spans.one("execute_tool look"))
    assert called["gen_ai.tool.call.id"] == "c1"
    assert called["gen_ai.tool.type"] == "function"


async def test_a_run_enqueued_within_a_request_is_in_its_trace(migrated_sqlite: str, spans: Spans) -> None:
    async with (
        ScriptedModel(text("Done.")) as model,
        running_worker(migrated_sqlite, model, agents=[AGENT]) as worker,
    ):
        with trace.get_tracer("site").start_as_current_span("POST /chat"):
            await asked_and_ended(worker)

    assert spans.parent_of(spans.one("enqueue support")) == "POST /chat"
    assert trace_of(spans.one(STRETCH)) == trace_of(spans.one("POST /chat"))


async def test_a_run_enqueued_over_http_is_in_the_callers_trace(migrated_sqlite: str, spans: Spans) -> None:
    async with (
        ScriptedModel(text("Done.")) as model,
        running_worker(migrated_sqlite, model, agents=[AGENT], over_http=True) as worker,
    ):
        with trace.get_tracer("site").start_as_current_span("POST /chat"):
            await asked_and_ended(worker)

    # between them are what FastAPI tells of its own accord
    assert trace_of(spans.one("enqueue support")) == trace_of(spans.one("POST /chat"))
    assert spans.parent_of(spans.one(STRETCH)) == "enqueue support"


async def test_the_next_run_of_a_session_is_in_a_trace_of_its_own(migrated_sqlite: str, spans: Spans) -> None:
    async with (
        ScriptedModel(text("One."), text("Two.")) as model,
        running_worker(migrated_sqlite, model, agents=[AGENT], delivers=False, starts=False) as worker,
    ):
        for message in ("one", "two"):
            last = await worker.client.enqueue("customer-42", message, agent="support")
        worker.host.ring(worker.bell.rung[0])
        assert (await last.wait(10)).status is RunStatus.COMPLETED
        await eventually(lambda: worker.holds == 0)

    first, second = spans.named(STRETCH)
    assert trace_of(first) != trace_of(second)
    assert [trace_of(span) for span in spans.named("enqueue support")] == [trace_of(first), trace_of(second)]
    # the finish of the first claimed the second
    assert len(spans.named("claim")) == 1


async def test_a_failed_attempt_and_its_retry_are_two_model_calls(migrated_sqlite: str, spans: Spans) -> None:
    async with (
        ScriptedModel(HttpError(503, "overloaded, dear Ana"), text("Done.")) as model,
        running_worker(migrated_sqlite, model, agents=[AGENT], model_retries=1) as worker,
    ):
        await asked_and_ended(worker)

    failed, answered = spans.named("chat gpt-5.2")
    assert failed.status.status_code is StatusCode.ERROR
    assert attributes_of(failed)["error.type"] == "model_unavailable"
    assert [attributes_of(span)["turnkeeper.attempt"] for span in (failed, answered)] == [1, 2]
    assert answered.status.status_code is StatusCode.UNSET
    assert "Ana" not in spans.text()


async def test_a_run_that_fails_marks_its_spans_with_the_code(migrated_sqlite: str, spans: Spans) -> None:
    async with (
        ScriptedModel(HttpError(400, "no, dear Ana")) as model,
        running_worker(migrated_sqlite, model, agents=[AGENT]) as worker,
    ):
        snapshot = await asked_and_ended(worker)

    assert snapshot.error is not None
    for name in (STRETCH, "turn 1", "chat gpt-5.2"):
        span = spans.one(name)
        assert span.status.status_code is StatusCode.ERROR, name
        assert attributes_of(span)["error.type"] == snapshot.error.code
        assert not span.events
    assert "Ana" not in spans.text()


async def test_a_tool_that_raises_marks_its_span_and_not_the_run(migrated_sqlite: str, spans: Spans) -> None:
    async with (
        ScriptedModel(calls(("look", {"what": "nothing"}, "c1")), text("Done.")) as model,
        running_worker(migrated_sqlite, model, agents=[AGENT]) as worker,
    ):
        await asked_and_ended(worker)

    assert attributes_of(spans.one("execute_tool look"))["error.type"] == "tool_failed"
    assert spans.one("turn 1").status.status_code is StatusCode.UNSET
    assert spans.one(STRETCH).status.status_code is StatusCode.UNSET


async def test_a_decision_that_lost_is_marked(migrated_sqlite: str, spans: Spans) -> None:
    async with (
        ScriptedModel(calls(("refund", {"order": 7}, "c1")), text("Done.")) as model,
        running_worker(migrated_sqlite, model, agents=[AGENT]) as worker,
    ):
        run = await worker.client.enqueue("s", "Refund it", agent="support")
        approval = (await run.wait(10)).approvals[0]
        await worker.client.approve(approval.id, by="ana")
        with pytest.raises(ApprovalConflict):
            await worker.client.reject(approval.id, by="bob")
        await run.wait(10)
        await eventually(lambda: worker.holds == 0)

    won, lost = spans.named("decide refund")
    assert won.status.status_code is StatusCode.UNSET
    assert attributes_of(lost)["error.type"] == "approval_approved"
    assert "bob" not in spans.text()


async def test_an_approval_that_expires_is_told_in_the_runs_trace(migrated_url: str, spans: Spans) -> None:
    async with (
        ScriptedModel(calls(("refund", {"order": 7}, "c1")), text("Done.")) as model,
        running_worker(migrated_url, model, agents=[AGENT], approval_timeout=0.1) as worker,
    ):
        run = await worker.client.enqueue("s", "Refund it", agent="support")
        assert (await run.wait(10)).status is RunStatus.AWAITING_APPROVAL
        await eventually(lambda: expire_due(worker.database, worker.bell), within=10)
        await eventually(lambda: len(spans.named(STRETCH)) == 2, within=10)

    expired = spans.one("decide refund")
    assert attributes_of(expired)["turnkeeper.approval.status"] == "expired"
    assert trace_of(expired) == trace_of(spans.one("enqueue support"))


async def test_a_run_that_another_worker_takes_over_goes_on_in_its_trace(
    migrated_url: str, spans: Spans
) -> None:
    async with ScriptedModel(text("Lost."), text("Done.")) as model:
        model.hold()
        async with running_worker(migrated_url, model, agents=[AGENT]) as first:
            run = await first.client.enqueue("s", "hello", agent="support")
            await model.wait_for_in_flight(1)
            await first.die()
            await first.lease_runs_out("s")
        model.release()
        async with running_worker(migrated_url, model, agents=[AGENT]) as second:
            assert (await second.client.wait(run.id, 10)).status is RunStatus.COMPLETED
            await eventually(lambda: second.holds == 0)

    before, after = spans.named(STRETCH)
    assert trace_of(before) == trace_of(after)
    assert attributes_of(before)["turnkeeper.run.status"] == "released"
    assert before.status.status_code is StatusCode.ERROR
    assert attributes_of(after)["turnkeeper.run.status"] == "completed"
    assert attributes_of(before)["turnkeeper.epoch"] < attributes_of(after)["turnkeeper.epoch"]


async def test_contents_are_shown_only_when_the_setting_says_so(migrated_sqlite: str, spans: Spans) -> None:
    replies = calls(("look", {"what": "the ring"}, "c1")), text("It is gold.")
    words = ("find my precious", "the ring", "saw the ring", "It is gold.", "Be kind.")
    for shows in (False, True):
        spans.exporter.clear()
        async with (
            ScriptedModel(*replies) as model,
            running_worker(migrated_sqlite, model, agents=[AGENT], trace_content=shows) as worker,
        ):
            await asked_and_ended(worker, "find my precious")
        assert [word in spans.text() for word in words] == [shows] * len(words)


async def test_without_an_sdk_nothing_is_stored_and_nothing_told(migrated_sqlite: str) -> None:
    assert not tracing.is_collected()
    async with (
        ScriptedModel(text("Done.")) as model,
        running_worker(migrated_sqlite, model, agents=[AGENT]) as worker,
    ):
        snapshot = await asked_and_ended(worker)
        assert (await worker.run(snapshot.id)).trace_parent is None


async def test_an_sdk_that_is_switched_off_gives_runs_no_trace(
    migrated_sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[RunPlace | None] = []

    @tool
    async def where() -> str:
        """Say where."""
        seen.append(run_place())
        return "here"

    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    agent = Agent(name="support", model="gpt-5.2", tools=[where])
    with collecting_spans(monkeypatch) as spans:
        async with (
            ScriptedModel(calls(("where", {}, "c1")), text("Done.")) as model,
            running_worker(migrated_sqlite, model, agents=[agent]) as worker,
        ):
            snapshot = await asked_and_ended(worker)
            assert (await worker.run(snapshot.id)).trace_parent is None
    assert spans.names() == []
    assert [place.trace_id for place in seen if place is not None] == [None]


async def test_a_run_enqueued_without_an_sdk_is_traced_from_its_claim(
    migrated_sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        ScriptedModel(text("Done.")) as model,
        running_worker(migrated_sqlite, model, agents=[AGENT], delivers=False, starts=False) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support")
        with collecting_spans(monkeypatch) as spans:
            worker.host.ring(worker.bell.rung[0])
            await run.wait(10)
            await eventually(lambda: worker.holds == 0)
    assert spans.one(STRETCH).parent is None


async def test_a_run_in_the_callers_own_transaction_takes_its_span_along(
    migrated_sqlite: str, spans: Spans
) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(migrated_sqlite.replace("sqlite:", "sqlite+aiosqlite:"))
    async with AsyncClient(database_url=migrated_sqlite, broker_url="memory://") as client:
        async with engine.begin() as connection:
            run = await client.enqueue("s", "hello", agent="support", connection=connection)
        database = await client._backend.database()
        from turnkeeper_storage import ids
        from turnkeeper_storage.repositories import runs

        stored = await database.read(lambda uow: runs.get(uow, ids.key_of(run.id), run.id, "default"))
    await engine.dispose()
    assert stored is not None
    assert stored.trace_parent is not None
    assert stored.trace_parent.split("-")[1] == f"{trace_of(spans.one('enqueue support')):032x}"


@pytest.mark.parametrize("text", [None, "", "garbage", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_text_that_is_no_traceparent_names_no_trace(text: str | None) -> None:
    assert tracing.context_of(text) is None
    assert tracing.trace_id_of(text) is None


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.trace_id)


def span_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)
