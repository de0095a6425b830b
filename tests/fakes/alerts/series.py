"""How a story is told: the names of series, and what an alert is to make of them.

Values are promtool's: `0x40` is 0 for ten minutes (a sample each 15 seconds), `0+1x40` rises by one with
each, `_x40` is no sample, and `stale` is what Prometheus writes when a process does not answer any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.fakes.promtool import Fired

WORKER = 'job="turnkeeper-worker",instance="127.0.0.1:9464"'
OTHER = 'job="turnkeeper-worker",instance="127.0.0.1:9465"'
API = 'job="turnkeeper-api",instance="127.0.0.1:9463"'


@dataclass(frozen=True, slots=True)
class Story:
    """`when` is a sentence about the series; `at` the time after their start at which is looked."""

    alert: str
    when: str
    series: Mapping[str, str]
    at: str
    fires: tuple[Fired, ...] = ()


def ended(agent: str, *, status: str = "completed", code: str = "", at: str = WORKER) -> str:
    return f'turnkeeper_runs_ended_total{{{at},agent="{agent}",status="{status}",code="{code}"}}'


def asked(error: str = "", *, at: str = WORKER) -> str:
    return (
        f'gen_ai_client_operation_duration_seconds_count{{{at},gen_ai_request_model="gpt-5.2",'
        f'error_type="{error}"}}'
    )


def called(error: str = "", *, at: str = WORKER) -> str:
    return f'gen_ai_execute_tool_duration_seconds_count{{{at},gen_ai_tool_name="look",error_type="{error}"}}'


def served(status: str) -> str:
    return f'http_server_request_duration_seconds_count{{{API},http_response_status_code="{status}"}}'


def counter(name: str, at: str = WORKER, **labels: str) -> str:
    told = "".join(f',{label}="{value}"' for label, value in labels.items())
    return f"turnkeeper_{name}_total{{{at}{told}}}"


def gauge(name: str, at: str = API) -> str:
    return f"turnkeeper_{name}{{{at}}}"


def buckets(name: str, labels: str, counts: Mapping[str, str]) -> dict[str, str]:
    return {f'{name}_bucket{{{labels},le="{le}"}}': values for le, values in counts.items()}
