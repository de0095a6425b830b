"""A collector of OpenTelemetry's on a real local HTTP server: what it was sent, over OTLP."""

from __future__ import annotations

from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from turnkeeper.practice.local_server import LocalServer


class Collector(LocalServer):
    """Keeps spans by the name of their service, the names of metrics, and all that came as text."""

    def __init__(self) -> None:
        super().__init__(port=0)
        self.spans: list[tuple[str, Span]] = []
        self.metrics: set[str] = set()
        self.text = ""
        self.app.add_routes([web.post("/v1/traces", self._traces), web.post("/v1/metrics", self._metrics)])

    @property
    def endpoint(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is to say."""
        return self.base_url.removesuffix("/v1")

    def named(self, name: str, service: str | None = None) -> list[Span]:
        """The spans of that name."""
        return [span for of, span in self.spans if span.name == name and service in (None, of)]

    async def _traces(self, request: web.Request) -> web.Response:
        told = ExportTraceServiceRequest.FromString(await request.read())
        self.text += str(told)
        for resource in told.resource_spans:
            service = next(
                a.value.string_value for a in resource.resource.attributes if a.key == "service.name"
            )
            self.spans += [(service, span) for scope in resource.scope_spans for span in scope.spans]
        return web.Response(body=b"", content_type="application/x-protobuf")

    async def _metrics(self, request: web.Request) -> web.Response:
        told = ExportMetricsServiceRequest.FromString(await request.read())
        self.text += str(told)
        for resource in told.resource_metrics:
            self.metrics |= {metric.name for scope in resource.scope_metrics for metric in scope.metrics}
        return web.Response(body=b"", content_type="application/x-protobuf")
