"""Prometheus' own programs, and what `promtool` says of alert rules on series that a test makes up."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from tests.fakes.observability import FOLDER, rules

Program = Literal["prometheus", "promtool", "alertmanager", "amtool"]
# what Debian calls them, where that is another name
_NAMES: Mapping[Program, tuple[str, ...]] = {
    "prometheus": ("prometheus",),
    "promtool": ("promtool",),
    "alertmanager": ("alertmanager", "prometheus-alertmanager"),
    "amtool": ("amtool",),
}
RULES = FOLDER / "alerts.yaml"
RUNBOOK = "https://github.com/turnkeeper/turnkeeper/blob/main/docs/runbook.md"


def needed(name: Program) -> str:
    """Where the program is; the test is skipped where there is none."""
    for called in _NAMES[name]:
        found = shutil.which(called)
        if found is not None:
            return found
    pytest.skip(f"no Prometheus: {name} is not here; apt-get install prometheus prometheus-alertmanager")


def run(name: Program, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Call it with this on its standard input."""
    return subprocess.run(
        [needed(name), *arguments], input=given, capture_output=True, text=True, timeout=60, check=False
    )


@dataclass(frozen=True, slots=True)
class Fired:
    """An alert as somebody gets it: its labels but for name and severity, and its first line."""

    summary: str
    labels: Mapping[str, str]


def fired(summary: str, **labels: str) -> Fired:
    """An alert that fires."""
    return Fired(summary, labels)


@dataclass(frozen=True, slots=True)
class Check:
    """What an alert tells at a time after the start: nothing, or these."""

    alert: str
    at: str
    fires: tuple[Fired, ...] = ()


def judge(series: Mapping[str, str], checks: Iterable[Check], folder: Path) -> str:
    """What promtool finds wrong, "" for nothing. A sample each 15 seconds, as prometheus.yml asks.

    Rules are asked between the samples too, since a range that begins and ends on a sample is a rare one.
    """
    document = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "10s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [_expected(check) for check in checks],
            }
        ],
    }
    file = folder / "tests.json"  # JSON is YAML
    file.write_text(json.dumps(document), encoding="utf-8")
    done = run("promtool", "test", "rules", str(file))
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _expected(check: Check) -> dict[str, object]:
    (rule,) = [rule for rule in rules() if rule["alert"] == check.alert]
    told = [
        {
            "exp_labels": {"severity": rule["labels"]["severity"], **one.labels},
            "exp_annotations": {
                "summary": one.summary,
                "description": rule["annotations"]["description"],
                "runbook_url": f"{RUNBOOK}#{check.alert.lower()}",
            },
        }
        for one in check.fires
    ]
    return {"eval_time": check.at, "alertname": check.alert, "exp_alerts": told}
