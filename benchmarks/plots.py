"""Plots as SVG."""

from __future__ import annotations

from pathlib import Path

from benchmarks.results import Series


def draw(series: Series, path: Path) -> None:
    """Write the plot of a series."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    # the same file for the same points
    matplotlib.rcParams["svg.hashsalt"] = series.title
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name, points in series.lines.items():
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", markersize=3, label=name)
    axes.set(title=series.title, xlabel=series.x, ylabel=series.y)
    if "x" in series.log:
        axes.set_xscale("log")
    if "y" in series.log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
