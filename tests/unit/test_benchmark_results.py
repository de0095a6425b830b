"""What a benchmark tells of what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.results import Budget, Figure, Measured, medians, percentile


def figures(ours: float, theirs: float, budget: Budget | None = None) -> list[Figure]:
    return [
        Figure("speed", "ours", ours, "1/s", "theirs", budget),
        Figure("speed", "theirs", theirs, "1/s"),
    ]


def test_a_ratio_is_taken_within_each_run_and_its_median_over_the_runs() -> None:
    ours, theirs = medians([figures(10, 1), figures(20, 10), figures(90, 10)])
    assert [ours.value, list(ours.ratios), ours.ratio] == [20, [10, 2, 9], 9]
    assert [theirs.value, list(theirs.ratios), theirs.ratio] == [10, [], None]


@pytest.mark.parametrize(
    ("budget", "is_met"),
    [
        (None, None),
        (Budget(20), True),
        (Budget(19), False),
        (Budget(20, "at least"), True),
        (Budget(3, "at least", "ratio"), False),
        (Budget(2, "at least", "ratio"), True),
    ],
)
def test_a_budget_is_of_the_value_or_of_the_ratio(budget: Budget | None, is_met: bool | None) -> None:
    assert medians([figures(20, 10, budget)])[0].is_met is is_met


@pytest.mark.parametrize(("share", "value"), [(0, 1), (0.5, 50), (0.99, 99), (1, 100)], ids=str)
def test_a_percentile_is_one_of_the_values(share: float, value: float) -> None:
    assert percentile(list(range(100, 0, -1)), share) == pytest.approx(value, abs=1)
    assert percentile([], share) == 0


def test_the_results_say_what_was_missed_and_keep_the_parts_that_were_not_measured_now(
    tmp_path: Path,
) -> None:
    said: list[str] = []

    def write(part: str, budget: Budget) -> list[Figure]:
        measured = Measured([Figure(part, "ours", 2.0, "ms", budget=budget)], notes=["as it was"])
        return report.write(tmp_path, {"cores": "2"}, {part: [measured]}, share=1.0, say=said.append)

    assert write("first", Budget(3)) == []
    assert [figure.part for figure in write("second", Budget(1))] == ["second"]

    kept = json.loads((tmp_path / "results.json").read_text())
    assert {part: one["figures"][0]["is_met"] for part, one in kept["parts"].items()} == {
        "first": True,
        "second": False,
    }
    page = (tmp_path / "results.md").read_text()
    assert "| ours | 2 ms |  | ≤ 1 | **no** |" in page
    assert "cores 2" in page
    assert "as it was" in page
    assert said[0] in page
