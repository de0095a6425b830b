"""Measure everything, or some parts: `python -m benchmarks [PART …]`.

    make bench                                   every part, three times, into benchmarks/results
    make bench BENCH="throughput --runs 1"       one part, once
    make bench BENCH="--share 0.05 --runs 1"     a twentieth of everything: whether it works

It needs PostgreSQL and Redis (`--postgres`, `--redis`, or TURNKEEPER_TEST_POSTGRES_URL and
TURNKEEPER_TEST_REDIS_URL), and a machine that does nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

from benchmarks import machine, report
from benchmarks.ground import Ground, Scale, standing
from benchmarks.results import Measured

PARTS = ("throughput", "in_flight", "latency", "hot_session", "history", "streaming", "counts", "plans")
RESULTS = Path(__file__).parent / "results"
POSTGRES = "postgresql://postgres@127.0.0.1:5432/postgres"
REDIS = "redis://127.0.0.1:6379"


def main() -> int:
    # ends as by Ctrl-C, so that what was started is ended too
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = _parser().parse_args()
    chosen = options.parts or list(PARTS)
    described = machine.describe(options.postgres, options.redis)
    scale = Scale(options.share)
    runs: dict[str, list[Measured]] = {part: [] for part in chosen}
    failed: list[str] = []
    with standing(options.postgres, options.redis, scale, _say) as ground:
        for number in range(options.runs):
            for part in chosen:
                _say(f"{part}: run {number + 1} of {options.runs}")
                try:
                    runs[part].append(asyncio.run(_measure(part)(ground)))
                except Exception as error:  # noqa: BLE001 - the other parts, and its other runs, still count
                    failed.append(f"{part}: {type(error).__name__}: {error}")
                    _say(failed[-1])
    measured = {part: found for part, found in runs.items() if found}
    missed = report.write(options.output, described, measured, share=options.share, say=print)
    for fault in failed:
        print(f"NOT MEASURED {fault}")
    return 1 if failed or (missed and options.strict) else 0


def _measure(part: str) -> Callable[[Ground], Coroutine[None, None, Measured]]:
    module = importlib.import_module(f"benchmarks.parts.{part}")
    found: Callable[[Ground], Coroutine[None, None, Measured]] = module.measure
    return found


_BEGAN = time.monotonic()


def _say(text: str) -> None:
    print(f"[{time.monotonic() - _BEGAN:5.0f} s] {text}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--runs", type=int, default=3, help="how often; the median is told (3)")
    parser.add_argument("--share", type=float, default=1.0, help="how much of each count (1.0)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a budget is missed")
    parser.add_argument("--postgres", default=os.environ.get("TURNKEEPER_TEST_POSTGRES_URL", POSTGRES))
    parser.add_argument("--redis", default=os.environ.get("TURNKEEPER_TEST_REDIS_URL", REDIS))
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
