"""What is left of a measurement: JSON, a table, plots."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import plots
from benchmarks.results import Figure, Measured, medians


def write(
    folder: Path,
    machine: Mapping[str, str],
    runs: Mapping[str, Sequence[Measured]],
    *,
    share: float,
    say: Callable[[str], None],
) -> list[Figure]:
    """Write `results.json`, `results.md` and a plot of each series; the figures that miss their budget.

    Parts that were not measured now keep what stands of them in the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "results.json"
    kept = json.loads(file.read_text()) if file.exists() else {"parts": {}}
    missed: list[Figure] = []
    for part, measured in runs.items():
        figures = medians([one.figures for one in measured])
        missed += [one for one in figures if one.is_met is False]
        kept["parts"][part] = {
            "machine": dict(machine),
            "runs": len(measured),
            "share": share,
            "figures": [one.as_json() for one in figures],
            "notes": list(measured[-1].notes),
        }
        say(table(part, kept["parts"][part]))
        for place, series in enumerate(measured[-1].series):
            plots.draw(series, folder / f"{part}-{place + 1}.svg")
    file.write_text(json.dumps(kept, indent=1) + "\n")
    (folder / "results.md").write_text(page(kept["parts"]))
    return missed


def page(parts: Mapping[str, dict[str, object]]) -> str:
    """All tables, with the machine of each part."""
    lines = ["# Results", "", "Written by `make bench`; medians of the runs that each part had.", ""]
    told: object = None
    for part, one in parts.items():
        if one["machine"] != told:
            told = one["machine"]
            assert isinstance(told, dict)
            lines += ["; ".join(f"{name} {value}" for name, value in told.items()), ""]
        lines += [table(part, one), ""]
    return "\n".join(lines)


def table(part: str, told: Mapping[str, object]) -> str:
    """The figures of one part as a Markdown table."""
    figures = told["figures"]
    assert isinstance(figures, list)
    lines = [
        f"## {part}",
        "",
        f"{told['runs']} runs" + (f", {told['share']:g} of the size" if told["share"] != 1 else ""),
        "",
        "| figure | value | ratio | budget | met |",
        "| --- | ---: | ---: | --- | --- |",
    ]
    for one in figures:
        ratio = f"{one['ratio']:.2f} × {one['beside']}" if one["ratio"] is not None else ""
        met = {None: "", True: "yes", False: "**no**"}[one["is_met"]]
        lines.append(
            f"| {one['name']} | {number(one['value'])} {one['unit']} | {ratio} "
            f"| {one['budget'] or ''} | {met} |"
        )
    notes = told["notes"]
    assert isinstance(notes, list)
    return "\n".join([*lines, *([""] if notes else []), *notes])


def number(value: float) -> str:
    """Three digits that say something."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
