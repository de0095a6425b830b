"""What Prometheus and Grafana are given: files that they can read, and a page for each alert."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import pytest
import yaml

from tests.fakes.observability import FOLDER, dashboard, expressions, metrics_of, panels, rules
from tests.fakes.pages import ROOT
from turnkeeper_storage.metrics import INSTRUMENTS

RUNBOOK = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
ALERTS = [rule["alert"] for rule in rules()]
# the series of a histogram
PARTS = re.compile(r"_(bucket|sum|count)$")


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_an_expression_is_one_of_prometheus(where: str, expression: str) -> None:
    assert metrics_of(expression), where


def test_an_expression_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="unclosed"):
        metrics_of("sum(rate(x[5m])")


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_counters_are_asked_for_their_rise_and_gauges_for_themselves(where: str, expression: str) -> None:
    for name in metrics_of(expression):
        rises = re.search(rf"(rate|increase)\({name}[{{\[]", expression) is not None
        assert rises is name.endswith(("_total", "_bucket", "_sum", "_count")), f"{where}: {name}"


def test_each_rule_has_what_whoever_is_called_needs() -> None:
    for rule in rules():
        assert re.fullmatch(r"Turnkeeper[A-Z]\w+", rule["alert"])
        assert re.fullmatch(r"\d+m", rule["for"]), rule["alert"]
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert {"summary", "description", "runbook_url"} == set(rule["annotations"])
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
    assert len(ALERTS) == len(set(ALERTS))


def test_a_summary_names_only_labels_that_the_expression_leaves() -> None:
    for rule in rules():
        named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", rule["expr"]))))
        assert named <= kept or "by (" not in rule["expr"], rule["alert"]


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_its_page(alert: str) -> None:
    (rule,) = [rule for rule in rules() if rule["alert"] == alert]
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert page.endswith("/blob/main/docs/runbook.md")
    assert anchor == alert.lower()
    section = RUNBOOK.partition(f"\n### {alert}\n")[2].partition("\n##")[0]
    assert f"**Means:** ({rule['labels']['severity']})" in section
    assert "**Look:**" in section
    assert "**Do:**" in section


def test_a_page_has_its_alert() -> None:
    assert re.findall(r"^### (.+)$", RUNBOOK, re.MULTILINE) == ALERTS


def test_the_dashboard_has_what_grafana_reads() -> None:
    shown = dashboard()
    assert {"uid", "title", "schemaVersion", "panels", "templating", "time"} <= set(shown)
    assert [variable["name"] for variable in shown["templating"]["list"]] == ["datasource", "job"]
    assert len({panel["id"] for panel in shown["panels"]}) == len(shown["panels"])


def test_each_panel_says_what_it_shows_and_asks_the_chosen_data_source() -> None:
    for panel in panels():
        assert panel["title"]
        assert panel["type"] in ("timeseries", "stat")
        assert panel["description"].endswith((".", "by."))
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references)) > 0


def test_panels_do_not_lie_on_each_other() -> None:
    for one, other in combinations(dashboard()["panels"], 2):
        assert not overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in dashboard()["panels"])


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


def test_prometheus_reads_the_rules_and_asks_jobs_that_the_alerts_know() -> None:
    config: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    assert all((FOLDER / file).is_file() for file in config["rule_files"])
    jobs = [job["job_name"] for job in config["scrape_configs"]]
    assert jobs == ["turnkeeper-worker", "turnkeeper-api"]
    targets = [t for job in config["scrape_configs"] for s in job["static_configs"] for t in s["targets"]]
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(target.rpartition(":")[2] in readme for target in targets)


def test_pipelines_of_the_collector_use_parts_that_it_has() -> None:
    config: dict[str, Any] = yaml.safe_load((FOLDER / "collector.yaml").read_text(encoding="utf-8"))
    for pipeline in config["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= set(config[kind])


@pytest.mark.parametrize("file", ["datasources.yaml", "dashboards.yaml"])
def test_grafana_is_provisioned_from_files_of_its_form(file: str) -> None:
    config = yaml.safe_load((FOLDER / "grafana" / file).read_text(encoding="utf-8"))
    assert config["apiVersion"] == 1
    assert config["datasources" if file == "datasources.yaml" else "providers"]


def test_the_guide_lists_every_instrument_with_its_name_for_prometheus() -> None:
    guide = (ROOT / "docs/guides/observability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| `(\w+)` \| ([^|]*)\| ([^|]+) \|$", guide, re.MULTILINE)
    listed = {name: (shown, labels.strip(), text.strip()) for name, shown, labels, text in rows}
    assert set(listed) == set(INSTRUMENTS)
    for name, made in INSTRUMENTS.items():
        shown, labels, text = listed[name]
        assert shown == shown_as(name)
        assert labels == ", ".join(f"`{label.replace('.', '_')}`" for label in made.labels)
        assert text == made.description


def shown_as(name: str) -> str:
    made = INSTRUMENTS[name]
    seconds = "_seconds" if made.unit == "s" else ""
    return name.replace(".", "_") + seconds + ("_total" if made.kind == "counter" else "")
