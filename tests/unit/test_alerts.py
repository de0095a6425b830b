"""Each alert, judged by Prometheus' own promtool on series that tell what happened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.fakes.alerts import STORIES
from tests.fakes.alerts.lives import api, there, worker
from tests.fakes.alerts.series import OTHER, Story
from tests.fakes.observability import FOLDER, rules
from tests.fakes.promtool import Check, Fired, fired, judge, run

ALERTS = [rule["alert"] for rule in rules()]
MINUTES = 40


@pytest.mark.parametrize("story", STORIES, ids=lambda story: f"{story.alert}: {story.when}")
def test_an_alert_fires_when_it_should_and_else_is_quiet(story: Story, tmp_path: Path) -> None:
    assert judge(story.series, [Check(story.alert, story.at, story.fires)], tmp_path) == ""


def test_each_alert_is_seen_to_fire_and_to_stay_quiet() -> None:
    assert {story.alert for story in STORIES if story.fires} == set(ALERTS)
    assert {story.alert for story in STORIES if story.series and not story.fires} == set(ALERTS)


def told(
    series: Mapping[str, str], folder: Path, *, but: Mapping[str, tuple[int, Fired]] | None = None
) -> str:
    """What is told at any minute, but for alerts that are to fire from a minute on."""
    late = but or {}
    checks = [
        Check(alert, f"{minute}m10s", (late[alert][1],) if alert in late and minute >= late[alert][0] else ())
        for alert in ALERTS
        for minute in range(1, MINUTES)
    ]
    return judge(series, checks, folder)


def test_nothing_fires_while_nothing_happens(tmp_path: Path) -> None:
    idle = there(MINUTES)
    assert told(worker(idle, runs=0) | worker(idle, OTHER, runs=0) | api(idle, requests=0), tmp_path) == ""


def test_nothing_fires_while_everything_works(tmp_path: Path) -> None:
    busy = there(MINUTES)
    assert told(worker(busy, runs=5) | worker(busy, OTHER, runs=5) | api(busy, requests=9), tmp_path) == ""


def test_nothing_fires_while_one_process_after_the_other_is_deployed_anew(tmp_path: Path) -> None:
    first, second, front = there(9, 1, 30), there(11, 1, 28), there(13, 1, 26)
    assert told(worker(first, runs=5) | worker(second, OTHER, runs=5) | api(front), tmp_path) == ""


def test_nothing_fires_while_all_are_deployed_anew_at_once(tmp_path: Path) -> None:
    all_at_once = there(9, 1, 30)
    assert told(worker(all_at_once) | worker(all_at_once, OTHER) | api(all_at_once), tmp_path) == ""


def test_a_worker_that_is_gone_while_another_works_is_told_and_nothing_else(tmp_path: Path) -> None:
    gone = fired(
        "turnkeeper-worker on 127.0.0.1:9465 does not answer",
        job="turnkeeper-worker",
        instance="127.0.0.1:9465",
    )
    series = worker(there(MINUTES)) | worker(there(10, 30), OTHER) | api(there(MINUTES))
    assert told(series, tmp_path, but={"TurnkeeperProcessDown": (12, gone)}) == ""


def test_an_installation_that_is_not_there_yet_is_told_after_two_minutes(tmp_path: Path) -> None:
    missing = {
        "TurnkeeperNoWorkers": (2, fired("No worker answers")),
        "TurnkeeperNoFigures": (2, fired("Nobody knows how much there is to do")),
    }
    assert told({}, tmp_path, but=missing) == ""


@pytest.mark.parametrize(("what", "file"), [("config", "prometheus.yml"), ("rules", "alerts.yaml")])
def test_promtool_takes_what_prometheus_is_given(what: str, file: str) -> None:
    done = run("promtool", "check", what, str(FOLDER / file))
    assert done.returncode == 0, done.stdout + done.stderr


def test_amtool_takes_what_alertmanager_is_given() -> None:
    done = run("amtool", "check-config", str(FOLDER / "alertmanager.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
