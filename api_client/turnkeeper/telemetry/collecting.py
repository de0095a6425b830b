"""OpenTelemetry's SDK for a process of ours: set up when the settings ask for it, and not otherwise.

A process that has an SDK already, as under `opentelemetry-instrument`, keeps it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

from opentelemetry import metrics, trace

from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.metrics import begin_at_zero
from turnkeeper_storage.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource

# for what is not sent yet when the process ends
FLUSH_SECONDS = 3.0
UNNAMED = "unknown_service"
log = logging.getLogger(__name__)


@contextlib.contextmanager
def collecting(settings: Settings, service: str, *, cluster: bool = False) -> Iterator[str | None]:
    """Traces and metrics of the block go where the settings say. `service`: its name, unless OTEL_* say one.

    `cluster`: with the gauges of the whole installation. Gives the URL that Prometheus is answered at, None
    for none. Raises ConfigurationError for a metrics port that
    cannot be had, or without what serves it; a collector that cannot be used is told in the log.
    """
    with contextlib.ExitStack() as stack:
        sends_traces = settings.otlp_endpoint or settings.otlp_traces_endpoint
        sends_metrics = settings.otlp_endpoint or settings.otlp_metrics_endpoint
        if (sends_traces or sends_metrics) and not _has("opentelemetry.exporter.otlp.proto.http"):
            log.warning("OTEL_* name a collector, and nothing sends to it: pip install 'turnkeeper[otel]'")
            sends_traces = sends_metrics = None
        if sends_traces and isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            _send_traces(service, stack)
        readers = [_sending_reader()] if sends_metrics else []
        url = None
        if settings.metrics_port is not None:
            reader, url = _served_reader(settings.metrics_host, settings.metrics_port, stack)
            readers.append(reader)
        if readers:
            _measure(readers, service, stack)
            begin_at_zero(is_worker=not cluster)
            if cluster:
                _look_at_the_cluster(settings, stack)
        yield url


def _has(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # what it is in is not there
        return False


def _resource(service: str) -> Resource:
    from opentelemetry.sdk.resources import Resource

    found = Resource.create()
    # the SDK calls a process so that OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES leave without a name
    is_named = not str(found.attributes.get("service.name", UNNAMED)).startswith(UNNAMED)
    return found if is_named else found.merge(Resource({"service.name": service}))


def _send_traces(service: str, stack: contextlib.ExitStack) -> None:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=_resource(service), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    stack.callback(_in_time, provider.shutdown)


def _sending_reader() -> MetricReader:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    return PeriodicExportingMetricReader(OTLPMetricExporter())


def _served_reader(host: str, port: int, stack: contextlib.ExitStack) -> tuple[MetricReader, str]:
    if not _has("opentelemetry.exporter.prometheus"):
        raise ConfigurationError(
            "TURNKEEPER_METRICS_PORT: what serves it is not installed; pip install 'turnkeeper[prometheus]'"
        )
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    reader = PrometheusMetricReader(scope_info_enabled=False, registry=registry)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise ConfigurationError(
            f"TURNKEEPER_METRICS_PORT, TURNKEEPER_METRICS_HOST: cannot listen on {host} port {port} "
            f"({error.strerror}); use another one for each process of a machine, or 0 for any"
        ) from None

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    stack.callback(end)
    return reader, f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}/metrics"


def _measure(readers: list[MetricReader], service: str, stack: contextlib.ExitStack) -> None:
    from opentelemetry.sdk.metrics import MeterProvider

    provider = MeterProvider(readers, resource=_resource(service), shutdown_on_exit=False)
    metrics.set_meter_provider(provider)
    if metrics.get_meter_provider() is not provider:
        log.warning("metrics go where the SDK that this process has already sends them, and nowhere else")
    stack.callback(_in_time, provider.shutdown)


def _look_at_the_cluster(settings: Settings, stack: contextlib.ExitStack) -> None:
    from turnkeeper.telemetry.cluster import ClusterFigures

    figures = ClusterFigures(settings)
    stack.callback(figures.close)
    figures.begin()


def _in_time(end: Callable[[], None]) -> None:
    """Send what waits, and give up soon: exporters try again for longer than a process has."""
    thread = threading.Thread(target=end, name="turnkeeper-telemetry-end", daemon=True)
    thread.start()
    thread.join(FLUSH_SECONDS)
    if thread.is_alive():
        log.warning("the last traces or metrics were not sent: the collector does not take them")
