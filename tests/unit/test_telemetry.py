"""What is counted of runs and workers, the gauges of the installation, and what a process sets up."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.metrics import _internal as meters
from opentelemetry.metrics import get_meter_provider, set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.util._once import Once

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import HttpError, calls, text
from tests.fakes.telemetry import Figures, collecting_figures
from tests.fakes.wait import eventually
from tests.fakes.worker import running_worker
from turnkeeper.telemetry import collecting as module
from turnkeeper.telemetry.cluster import ClusterFigures
from turnkeeper.telemetry.collecting import collecting
from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.metrics import INSTRUMENTS, begin_at_zero
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.settings import load_settings
from turnkeeper_worker import gauges
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.tools import tool


@tool(needs_approval=True)
async def refund(order: int) -> str:
    """Refund an order."""
    return f"refunded {order}"


@tool
async def stumble() -> str:
    """Fail."""
    raise LookupError("no")


AGENT = Agent(name="support", model="gpt-5.2", tools=[refund, stumble])


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[Figures]:
    gauges._begin.cache_clear()
    with collecting_figures(monkeypatch) as collected:
        yield collected
    gauges._begin.cache_clear()


@pytest.fixture
def new_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has set up none."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(meters, "_METER_PROVIDER", None)
    monkeypatch.setattr(meters, "_METER_PROVIDER_SET_ONCE", Once())


async def test_runs_are_counted_by_how_they_end(migrated_sqlite: str, figures: Figures) -> None:
    script = calls(("stumble", {}, "c1")), text("Done."), HttpError(400), text("Too late.")
    async with (
        ScriptedModel(*script) as model,
        running_worker(migrated_sqlite, model, agents=[AGENT], heartbeat_seconds=0.1) as worker,
    ):
        for message in ("one", "two"):
            run = await worker.client.enqueue("s", message, agent="support")
            await run.wait(10)
        model.hold()
        asks = await worker.client.enqueue("other", "three", agent="support")
        await model.wait_for_in_flight(1)
        await worker.client.cancel(asks.id)
        await eventually(lambda: worker.holds == 0)
        model.release()

    ended = "turnkeeper.runs.ended"
    assert figures.count("turnkeeper.runs.enqueued", agent="support") == 3
    assert figures.count(ended, agent="support", status="completed", code="") == 1
    assert figures.count(ended, status="failed", code="model_bad_request") == 1
    assert figures.count("turnkeeper.run.work", status="completed") == 1
    assert figures.count(ended, status="cancelled") == 1
    assert figures.count("gen_ai.client.operation.duration") == 4
    for error in ("model_bad_request", "cancelled"):
        assert figures.count("gen_ai.client.operation.duration", **{"error.type": error}) == 1
    assert figures.count("gen_ai.execute_tool.duration", **{"error.type": "tool_failed"}) == 1
    assert figures.count("gen_ai.client.token.usage", **{"gen_ai.token.type": "input"}) == 2
    assert figures.count("turnkeeper.worker.claims", source="bell") >= 1


async def test_a_run_that_waits_and_is_cancelled_is_counted(migrated_url: str, figures: Figures) -> None:
    async with (
        ScriptedModel(calls(("refund", {"order": 7}, "c1"))) as model,
        running_worker(migrated_url, model, agents=[AGENT]) as worker,
    ):
        run = await worker.client.enqueue("s", "one", agent="support")
        assert (await run.wait(10)).status is RunStatus.AWAITING_APPROVAL
        await worker.client.cancel(run.id)
        await worker.client.cancel(run.id)

    assert figures.count("turnkeeper.runs.parked", agent="support") == 1
    assert figures.count("turnkeeper.runs.ended", status="cancelled") == 1


async def test_a_take_over_is_counted(migrated_url: str, figures: Figures) -> None:
    async with ScriptedModel(text("Lost."), text("Done.")) as model:
        model.hold()
        async with running_worker(migrated_url, model, agents=[AGENT]) as first:
            run = await first.client.enqueue("s", "one", agent="support")
            await model.wait_for_in_flight(1)
            await first.die()
            await first.lease_runs_out("s")
        model.release()
        async with running_worker(migrated_url, model, agents=[AGENT]) as second:
            assert (await second.client.wait(run.id, 10)).status is RunStatus.COMPLETED
    assert figures.count("turnkeeper.worker.takeovers") == 1
    assert figures.count("turnkeeper.worker.claims", source="sweep") == 1


async def test_gauges_of_a_worker_show_its_slots(migrated_sqlite: str, figures: Figures) -> None:
    async with ScriptedModel(text("Done.")) as model:
        model.hold()
        async with running_worker(migrated_sqlite, model, agents=[AGENT], concurrency=7) as worker:
            await worker.client.enqueue("s", "one", agent="support")
            await model.wait_for_in_flight(1)
            assert figures.count("turnkeeper.worker.slots") >= 7
            assert figures.count("turnkeeper.worker.in_flight") >= 1
            model.release()
            await eventually(lambda: worker.holds == 0)


async def test_gauges_of_the_installation_show_what_there_is_to_do(
    migrated_url: str, figures: Figures
) -> None:
    async with (
        ScriptedModel(calls(("refund", {"order": 7}, "c1"))) as model,
        running_worker(migrated_url, model, agents=[AGENT], delivers=False, starts=False) as worker,
    ):
        parked = await worker.client.enqueue("parked", "one", agent="support")
        worker.host.ring(worker.bell.rung[-1])
        await parked.wait(10)
        other = worker.client.for_tenant("another")
        await other.enqueue("waits", "two", agent="support")
        await eventually(lambda: worker.holds == 0)
        looking = ClusterFigures(load_settings(database_url=migrated_url))
        try:
            looking.begin()
            assert figures.count("turnkeeper.cluster.up") == 1
            assert figures.count("turnkeeper.cluster.runs", status="queued") == 1
            assert figures.count("turnkeeper.cluster.runs", status="awaiting_approval") == 1
            assert figures.count("turnkeeper.cluster.runs", status="running") == 0
            assert figures.count("turnkeeper.cluster.open_approvals") == 1
            assert figures.count("turnkeeper.cluster.waiting_sessions") == 1
            assert 0 < figures.count("turnkeeper.cluster.queue_age") < 60
            assert 0 < figures.count("turnkeeper.cluster.oldest_approval") < 60
        finally:
            looking.close()


def test_a_database_that_is_away_is_told_and_leaves_no_other_gauge(figures: Figures) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        looking = ClusterFigures(load_settings(database_url=f"postgresql://x@127.0.0.1:{port}/x"))
        try:
            looking.begin()
            assert figures.count("turnkeeper.cluster.up") == 0
            assert figures.points("turnkeeper.cluster.up")
            assert not figures.points("turnkeeper.cluster.runs")
        finally:
            looking.close()


def test_counters_are_shown_before_they_count(figures: Figures) -> None:
    begin_at_zero(is_worker=True)
    for name in ("turnkeeper.worker.takeovers", "turnkeeper.wakeups.failed"):
        assert [point.value for _, point in figures.points(name)] == [0]
    reasons = {labels["reason"] for labels, _ in figures.points("turnkeeper.worker.lease_losses")}
    assert reasons == {"taken", "unrenewed"}


async def test_a_worker_shows_what_an_alert_waits_for_before_it_counts_it(
    migrated_sqlite: str, figures: Figures
) -> None:
    async with ScriptedModel() as model, running_worker(migrated_sqlite, model, agents=[AGENT]):
        ended, blocks = (
            figures.points("turnkeeper.runs.ended"),
            figures.points("turnkeeper.worker.loop_blocks"),
        )
    assert [labels for labels, _ in ended] == [{"agent": "support", "status": "failed", "code": "poisoned"}]
    assert {labels["tool"] for labels, _ in blocks} == {"", "refund", "stumble"}
    assert {point.value for _, point in (*ended, *blocks)} == {0}


def test_no_gauge_has_a_unit_that_a_collector_makes_a_ratio_of() -> None:
    # it would call turnkeeper_cluster_up turnkeeper_cluster_up_ratio
    assert [name for name, made in INSTRUMENTS.items() if made.unit == "1"] == []


def test_no_instrument_is_told_by_ids_or_tenants() -> None:
    labels = {label for made in INSTRUMENTS.values() for label in made.labels}
    assert not {label for label in labels if label.endswith((".id", "_id")) or "tenant" in label}


@pytest.mark.usefixtures("new_sdk")
def test_nothing_is_set_up_when_nothing_is_asked_for() -> None:
    with collecting(load_settings(), "turnkeeper-worker") as url:
        assert url is None
        assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@pytest.mark.usefixtures("new_sdk")
def test_a_port_that_is_taken_is_told_with_its_settings() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = load_settings(metrics_port=taken.getsockname()[1])
        with pytest.raises(ConfigurationError, match="TURNKEEPER_METRICS_PORT"), collecting(settings, "x"):
            pass


@pytest.mark.usefixtures("new_sdk")
def test_what_is_not_installed_is_told_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_has", lambda package: False)
    settings = load_settings(metrics_port=0)
    with pytest.raises(ConfigurationError, match=r"turnkeeper\[prometheus\]"), collecting(settings, "x"):
        pass
    # a collector is often named for all programs of a machine: no reason not to work
    with collecting(load_settings(otlp_endpoint="http://127.0.0.1:9"), "x"):
        assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    assert "turnkeeper[otel]" in caplog.text


def test_a_collector_that_takes_nothing_does_not_hold_the_end_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.05)
    never = threading.Event()

    def send() -> None:
        never.wait(60)

    module._in_time(send)
    assert "were not sent" in caplog.text
    never.set()


@pytest.mark.usefixtures("new_sdk")
def test_a_collector_that_is_named_is_sent_to(monkeypatch: pytest.MonkeyPatch) -> None:
    # nobody listens there, and nothing comes of it but a line in the log
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9/v1/traces")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop-worker")
    with collecting(load_settings(), "turnkeeper-worker"):
        provider = trace.get_tracer_provider()
        assert isinstance(provider, TracerProvider)
        assert provider.resource.attributes["service.name"] == "shop-worker"


@pytest.mark.usefixtures("new_sdk")
def test_an_sdk_that_is_there_already_is_kept(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mine, meter = TracerProvider(), MeterProvider()
    trace.set_tracer_provider(mine)
    set_meter_provider(meter)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9/v1/traces")
    with collecting(load_settings(metrics_port=0), "turnkeeper-worker"):
        assert trace.get_tracer_provider() is mine
        assert get_meter_provider() is meter
    assert "the SDK that this process has already" in caplog.text
