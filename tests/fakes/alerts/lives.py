"""Processes that are there, end and come back, as all the series that they tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tests.fakes.alerts.series import API, WORKER, asked, called, counter, ended, gauge, served

# minutes for which a process is there, is away, is there again, ...
Minutes = tuple[int, ...]
_EACH_MINUTE = 4  # samples


def there(*minutes: int) -> Minutes:
    """A process that is there for some minutes, then away for some, and so on."""
    return minutes


def worker(life: Minutes, at: str = WORKER, *, runs: int = 1) -> dict[str, str]:
    """What a worker tells that ends so many runs with each sample, and has nothing to complain of."""
    zeros = [
        *(counter(f"worker_{name}", at) for name in ("takeovers", "heartbeat_failures", "sweep_failures")),
        *(counter("worker_lease_losses", at, reason=reason) for reason in ("taken", "unrenewed")),
        counter("worker_loop_blocks", at, tool="look"),
        counter("wakeups_failed", at),
        ended("support", status="failed", code="poisoned", at=at),
    ]
    rising = [ended("support", at=at), asked(at=at), called(at=at)]
    return {
        f"up{{{at}}}": _up(life),
        **dict.fromkeys(zeros, _values(life, lambda samples: f"0x{samples}")),
        **dict.fromkeys(rising, _values(life, lambda samples: f"0+{runs}x{samples}")),
        gauge("worker_slots", at): _values(life, lambda samples: f"20x{samples}"),
        gauge("worker_in_flight", at): _values(life, lambda samples: f"{runs}x{samples}"),
    }


def api(life: Minutes, *, requests: int = 1) -> dict[str, str]:
    """What an API process tells of an installation in which nothing waits."""
    idle = ("queue_age_seconds", "oldest_approval_seconds")
    return {
        f"up{{{API}}}": _up(life),
        gauge("cluster_up"): _values(life, lambda samples: f"1x{samples}"),
        **{gauge(f"cluster_{name}"): _values(life, lambda samples: f"0x{samples}") for name in idle},
        counter("wakeups_failed", API): _values(life, lambda samples: f"0x{samples}"),
        served("200"): _values(life, lambda samples: f"0+{requests}x{samples}"),
    }


def _up(life: Minutes) -> str:
    return _joined(life, lambda samples: f"1x{samples}", lambda samples: f"0x{samples}")


def _values(life: Minutes, alive: Callable[[int], str]) -> str:
    return _joined(life, alive, lambda samples: f"stale _x{samples}")


def _joined(life: Minutes, alive: Callable[[int], str], away: Callable[[int], str]) -> str:
    """`ax4` are five samples, and `stale _x4` are, too."""
    parts: Iterable[str] = (
        (away if place % 2 else alive)(minutes * _EACH_MINUTE - 1) for place, minutes in enumerate(life)
    )
    return " ".join(parts)
