"""`python -m tests.torture --minutes 10 --database postgres`: ends with 1 when an invariant was violated."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.fakes import invariants
from tests.fakes.invariants import Known, Pictured
from tests.fakes.wait import eventually
from tests.fakes.world_agents import NOT_IDEMPOTENT
from tests.torture.faults import Faults
from tests.torture.people import People
from tests.torture.place import Options, Place, place
from tests.torture.story import report
from turnkeeper_storage.errors import WaitTimeout

# without one more run that ends: lease, sweep and a turn, on a busy machine
REST_SECONDS = 45.0


async def torture(options: Options, folder: Path) -> tuple[str, int]:
    """The report, and how many violations there are."""
    async with place(options, folder) as there:
        faults, people = Faults(there), People(there)
        deciding = asyncio.create_task(people.decide_for_ever())
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(options.minutes * 60, stop.set)
        async with asyncio.TaskGroup() as group:
            group.create_task(people.until(stop))
            group.create_task(faults.until(stop))
        there.faulty_model, people.is_patient = False, True
        await faults.settle()
        rest = await _come_to_rest(there)
        deciding.cancel()
        await asyncio.gather(deciding, return_exceptions=True)
        seen = await invariants.picture(there.database)
        found = [
            *rest,
            *people.gaps,
            *await invariants.violations(there.database, _known(there, faults, people)),
        ]
        found += await _readers_see_all(there, people, seen)
        return report(there, faults, people, seen, found), len(found)


async def _come_to_rest(there: Place) -> list[str]:
    """I4: when the faults have stopped, everything ends."""

    left = -1

    async def goes_on() -> bool:
        nonlocal left
        seen = await invariants.picture(there.database)
        held = sum(row.lease_id is not None for row in seen.sessions)
        now = held + sum(row.status not in invariants.TERMINAL for row in seen.runs)
        changed, left = now != left, now
        return changed or now == 0

    while left != 0:
        try:
            await eventually(goes_on, within=REST_SECONDS, every=0.5)
        except AssertionError:
            return [f"I4: {left} runs or leases did not end, and nothing went on for {REST_SECONDS:g} s"]
    return []


def _known(there: Place, faults: Faults, people: People) -> Known:
    asked = invariants.calls_of_model(there.model.arrivals)
    return Known(
        effects=invariants.read_effects(there.effects),
        accepted=people.accepted,
        model_calls={run: count - there.model_faults[run] for run, count in asked.items()},
        crashes=faults.deaths,
        not_idempotent=NOT_IDEMPOTENT,
    )


async def _readers_see_all(there: Place, people: People, seen: Pictured) -> list[str]:
    """I12: whoever reads a run from its beginning gets every index, once."""
    gaps = []
    for row in seen.runs[-50:]:
        numbers = []
        with contextlib.suppress(WaitTimeout):
            numbers = [event.n async for event in there.client.events(row.id, deltas=False, timeout=30)]
        if numbers != list(range(1, row.next_event)):
            gaps.append(f"I12: a reader of run {row.id} got {numbers}, of {row.next_event - 1}")
    return gaps


def parse(argv: Sequence[str]) -> tuple[Options, Path | None]:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="of faults; what is left may take longer")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of what is chosen")
    parser.add_argument("--database", choices=("postgres", "sqlite"), default="sqlite")
    parser.add_argument("--broker", choices=("redis", "rabbitmq"), default="redis")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--keep", type=Path, help="a folder for the logs of all processes")
    given = parser.parse_args(argv)
    options = Options(given.minutes, given.seed, given.database, given.broker, given.workers, given.sessions)
    return options, given.keep


def main(argv: Sequence[str]) -> int:
    options, keep = parse(argv)
    with contextlib.ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="torture-")))
        folder.mkdir(parents=True, exist_ok=True)
        text, violations = asyncio.run(torture(options, folder))
    sys.stdout.write(text + "\n")
    return 1 if violations else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
