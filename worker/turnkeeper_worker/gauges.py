"""What is asked of a worker when somebody looks at its gauges."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Protocol
from weakref import WeakSet

from opentelemetry.metrics import Observation

from turnkeeper_storage.metrics import gauge


class Busy(Protocol):
    """What is asked of a host."""

    @property
    def slots(self) -> int: ...

    @property
    def in_work(self) -> int: ...


_hosts: WeakSet[Busy] = WeakSet()


def watch(host: Busy) -> None:
    """Let the gauges of this process show the host for as long as it lives."""
    _hosts.add(host)
    _begin()


@cache
def _begin() -> None:
    gauge("turnkeeper.worker.slots", _slots)
    gauge("turnkeeper.worker.in_flight", _in_flight)


def _slots() -> Iterable[Observation]:
    return [Observation(sum(host.slots for host in list(_hosts)))]


def _in_flight() -> Iterable[Observation]:
    return [Observation(sum(host.in_work for host in list(_hosts)))]
