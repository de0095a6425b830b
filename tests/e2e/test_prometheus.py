"""A real Prometheus on deploy/observability asks a worker and an API, and finds what alerts ask for."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes import databases
from tests.fakes.model_server import ScriptedModel
from tests.fakes.observability import dashboard, expressions, measured, rules
from tests.fakes.processes import Processes
from tests.fakes.prometheus import Prometheus, address, prometheus
from tests.fakes.promtool import needed, run
from tests.fakes.replies import calls
from tests.fakes.told import LISTENS, METRICS, MODULE, environment, found_in, run_everything
from tests.fakes.wait import eventually, eventually_sync
from turnkeeper_client import AsyncClient
from turnkeeper_storage.metrics import INSTRUMENTS
from turnkeeper_storage.model import RunStatus

pytestmark = [pytest.mark.redis, pytest.mark.timeout(180)]
COMMAND = (sys.executable, "-m", "turnkeeper")
SHOWN = [(where, expression) for where, expression in expressions() if where.startswith("panel")]
MEASURED = [(rule["alert"], part) for rule in rules() for part in measured(rule["expr"])]
# they have a value when something is wrong
SILENT = {"absent", "5.."}


@dataclass(frozen=True, slots=True)
class Watched:
    """What was watched while runs went every way."""

    prometheus: Prometheus
    pages: dict[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(
    redis_server_url: str, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Watched]:
    needed("prometheus")
    folder = tmp_path_factory.mktemp("watched")
    shutil.copyfile(sqlite_template, folder / "turnkeeper.db")
    url = databases.sqlite_url(folder / "turnkeeper.db")
    processes = Processes(folder)
    try:
        with databases.redis_database(redis_server_url) as broker:
            async with ScriptedModel() as model:
                env = environment(url, broker, model.base_url)
                worker = processes(*COMMAND, "worker", MODULE, env=env)
                api = processes(*COMMAND, "api", "--port", "0", "--auth", "none", env=env)
                urls = {"turnkeeper-worker": await found_in(worker, METRICS)}
                urls["turnkeeper-api"] = await found_in(api, METRICS)
                asking = await prometheus(processes, folder, {job: [address(at)] for job, at in urls.items()})
                async with AsyncClient(await found_in(api, LISTENS)) as client:
                    # twice: a rise is between two scrapes
                    await run_everything(client, model, url)
                    await eventually(
                        lambda: asking.values("turnkeeper_worker_loop_blocks_total > 0"), within=20
                    )
                    await run_everything(client, model, url)
                    model.script(calls(("refund", {"reason": "late"}, "c9")))
                    waiting = await client.enqueue("customer-43", "a refund", agent="support")
                    assert (await waiting.wait(30)).status is RunStatus.AWAITING_APPROVAL
                await eventually(
                    lambda: asking.values("sum(turnkeeper_cluster_open_approvals) == 1"), within=20, every=0.2
                )
                pages = {job: httpx2.get(at, timeout=10).text for job, at in urls.items()}
                yield Watched(asking, pages)
    finally:
        processes.end_all()


def test_all_targets_are_up(watched: Watched) -> None:
    def found() -> dict[str, tuple[str, str]]:
        targets = watched.prometheus.ask("targets")["activeTargets"]
        return {target["labels"]["job"]: (target["health"], target["lastError"]) for target in targets}

    up = ("up", "")
    # a machine that has much to do may miss one
    eventually_sync(lambda: found() == {"turnkeeper-worker": up, "turnkeeper-api": up}, every=0.5)


def test_all_rules_are_evaluated_without_an_error(watched: Watched) -> None:
    groups = watched.prometheus.ask("rules")["groups"]
    found = {rule["name"]: (rule["health"], rule.get("lastError", "")) for g in groups for rule in g["rules"]}
    assert found == {rule["alert"]: ("ok", "") for rule in rules()}


@pytest.mark.parametrize(("where", "expression"), SHOWN)
def test_a_panel_has_something_to_show(watched: Watched, where: str, expression: str) -> None:
    values = watched.prometheus.values(expression)
    assert values, where
    assert not all(math.isnan(value) for value in values), where


@pytest.mark.parametrize(("alert", "expression"), MEASURED)
def test_what_a_rule_measures_is_there(watched: Watched, alert: str, expression: str) -> None:
    values = watched.prometheus.values(expression)
    assert bool(values) is not any(word in expression for word in SILENT), alert
    assert not any(math.isnan(value) for value in values), alert


def test_the_dashboard_finds_the_jobs_that_it_lets_people_choose(watched: Watched) -> None:
    (variable,) = [one for one in dashboard()["templating"]["list"] if one["name"] == "job"]
    metric = variable["definition"].removeprefix("label_values(").removesuffix(", job)")
    found = watched.prometheus.ask("query", query=f"group by (job) ({metric})")["result"]
    assert {one["metric"]["job"] for one in found} == {"turnkeeper-worker", "turnkeeper-api"}


@pytest.mark.parametrize("job", ["turnkeeper-worker", "turnkeeper-api"])
def test_promtool_has_nothing_against_a_page(watched: Watched, job: str) -> None:
    done = run("promtool", "check", "metrics", given=watched.pages[job])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("job", ["turnkeeper-worker", "turnkeeper-api"])
def test_families_on_a_page_are_whole(watched: Watched, job: str) -> None:
    page = watched.pages[job]
    helped, typed = (page.count(f"# {word} ") for word in ("HELP", "TYPE"))
    families = {family.name: family for family in text_string_to_metric_families(page)}
    assert helped == typed == len(families)
    for family in families.values():
        assert family.documentation
        if family.type == "histogram":
            ends = [sample.labels["le"] for sample in family.samples if sample.name.endswith("_bucket")]
            counts = [sample for sample in family.samples if sample.name.endswith("_count")]
            assert ends.count("+Inf") == len(counts) > 0
        if family.type == "counter":
            assert {sample.name for sample in family.samples} == {f"{family.name}_total"}


def test_prometheus_knows_each_instrument_by_its_kind_and_its_help(watched: Watched) -> None:
    # by OpenMetrics, which Prometheus asks for, `_total` is no part of a counter's name
    known = watched.prometheus.ask("metadata")
    for name, made in INSTRUMENTS.items():
        shown = name.replace(".", "_") + ("_seconds" if made.unit == "s" else "")
        assert [(one["type"], one["help"]) for one in known[shown]] == [(made.kind, made.description)], name
