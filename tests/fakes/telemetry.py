"""What a collector would get: the spans and the metrics of a test, kept in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from turnkeeper_storage import metrics


class Spans:
    """Spans that have ended, in the order of their begin."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def all(self) -> list[ReadableSpan]:
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def names(self) -> list[str]:
        return [span.name for span in self.all()]

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (found,) = self.named(name)
        return found

    def parent_of(self, span: ReadableSpan) -> str | None:
        """The name of its parent; None for a span without one here."""
        parent = span.parent
        known = {found.context.span_id: found.name for found in self.all() if found.context}
        return None if parent is None else known.get(parent.span_id)

    def traces(self) -> set[int]:
        return {span.context.trace_id for span in self.all() if span.context}

    def text(self) -> str:
        """All that they hold."""
        return "\n".join(span.to_json() for span in self.all())


@contextlib.contextmanager
def collecting_spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """An SDK for the block; what runs at the same time in this process is collected too."""
    spans = Spans()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", spans.provider)
    yield spans
    monkeypatch.undo()


@dataclass(frozen=True, slots=True)
class Figures:
    """What was counted and recorded."""

    reader: InMemoryMetricReader

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """Labels and data point of each series."""
        data = self.reader.get_metrics_data()
        scopes = (
            [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        )
        found = [metric for scope in scopes for metric in scope.metrics if metric.name == name]
        return [
            (dict(point.attributes or {}), point) for metric in found for point in metric.data.data_points
        ]

    def count(self, name: str, **labels: str) -> float:
        """The sum of a counter's, or the number of a histogram's values with these labels."""
        total = 0.0
        for have, point in self.points(name):
            if all(have.get(label) == value for label, value in labels.items()):
                total += point.count if hasattr(point, "count") else point.value
        return total

    def text(self) -> str:
        data = self.reader.get_metrics_data()
        return data.to_json() if data else ""


@contextlib.contextmanager
def collecting_figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[Figures]:
    """A meter provider for the block."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    _forget()
    yield Figures(reader)
    _forget()


def _forget() -> None:
    metrics._counter.cache_clear()
    metrics._histogram.cache_clear()


def attributes_of(span: ReadableSpan) -> Mapping[str, Any]:
    return dict(span.attributes or {})
