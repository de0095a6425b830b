"""What real processes tell when somebody collects: traces, metrics and logs, and no word of the runs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.fakes import databases
from tests.fakes.observability import expressions, metrics_of, names_on
from tests.fakes.processes import Processes
from tests.fakes.told import SECRETS, Told, tell

pytestmark = [pytest.mark.redis, pytest.mark.timeout(180)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(
    redis_server_url: str, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Told]:
    folder = tmp_path_factory.mktemp("told")
    shutil.copyfile(sqlite_template, folder / "turnkeeper.db")
    url = databases.sqlite_url(folder / "turnkeeper.db")
    processes = Processes(folder)
    try:
        with databases.redis_database(redis_server_url) as broker:
            yield await tell(processes, url, broker, folder)
    finally:
        processes.end_all()


@pytest.mark.parametrize("word", SECRETS)
def test_no_word_of_a_run_is_told(told: Told, word: str) -> None:
    assert [where for where, text in told.everything.items() if word in text] == []


def test_a_run_is_one_trace_through_api_worker_and_decision(told: Told) -> None:
    enqueued = told.collector.named("enqueue support", "turnkeeper-api")[0]
    stretches = told.collector.named("invoke_agent support", "turnkeeper-worker")
    decided = told.collector.named("decide refund", "turnkeeper-api")[0]
    assert [span.trace_id for span in (*stretches[:2], decided)] == [enqueued.trace_id] * 3
    called = told.collector.named("execute_tool refund", "turnkeeper-worker")[0]
    assert called.trace_id == enqueued.trace_id


def test_metrics_go_to_the_collector_too(told: Told) -> None:
    assert {"turnkeeper.runs.ended", "gen_ai.client.token.usage", "turnkeeper.cluster.queue_age"} <= (
        told.collector.metrics
    )


def test_every_line_of_the_logs_is_an_object_of_json(told: Told) -> None:
    for text in (told.worker_log, told.api_log):
        lines = [line for line in text.splitlines() if line.startswith("{")]
        assert len(lines) > 5
        for line in lines:
            assert {"time", "level", "logger", "message", "pid"} <= set(json.loads(line))


def test_lines_of_a_run_say_whose_it_is(told: Told) -> None:
    lines = [json.loads(line) for line in told.worker_log.splitlines() if line.startswith("{")]
    trace_id = told.collector.named("enqueue support")[0].trace_id.hex()
    for logger, message in (
        ("shop", "looking"),  # a tool on the loop
        ("shop", "refunding"),  # a tool in a thread
        ("turnkeeper_worker.session_loop", f"run {told.run_id} completed after 3 turns"),
        ("turnkeeper_worker.runner", f"run {told.run_id} turn 1: attempt 1 failed, model_unavailable"),
    ):
        (line,) = [one for one in lines if (one["logger"], one["message"]) == (logger, message)]
        assert line["tenant"] == "default"
        assert line["session_id"] == "customer-42"
        assert line["run_id"] == told.run_id
        assert line["trace_id"] == trace_id
        assert line["turn"] >= 1


def test_names_on_the_page_are_those_that_prometheus_expects(told: Told) -> None:
    on_page = names_on(told.worker_page)
    assert {
        "turnkeeper_runs_ended_total",
        "turnkeeper_run_work_seconds_bucket",
        "turnkeeper_worker_in_flight",
        "gen_ai_client_operation_duration_seconds_count",
        "process_resident_memory_bytes",
        "target_info",
    } <= on_page
    assert "turnkeeper_cluster_queue_age_seconds" in names_on(told.api_page)


def test_labels_are_few_words_and_never_ids(told: Told) -> None:
    pages = told.worker_page + told.api_page
    labels = set(re.findall(r'[{,](\w+)="', pages))
    assert not labels & {"tenant", "session_id", "run_id", "user", "turnkeeper_run_id", "turnkeeper_tenant"}
    assert told.run_id not in pages
    assert "customer-42" not in pages


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_dashboard_and_alerts_ask_for_what_is_exported(told: Told, where: str, expression: str) -> None:
    # `up` is Prometheus' own
    on_pages = names_on(told.worker_page) | names_on(told.api_page) | {"up"}
    assert metrics_of(expression) <= on_pages, where
