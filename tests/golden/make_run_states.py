"""Makes the golden files of parked runs from real exports: `python -m tests.golden.make_run_states`.

A released version's files are never made anew: they are what workers of that release left behind.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from tests.conformance.desk import LEASE_SECONDS, new_run
from tests.conformance.parking import Parking, adds, approve, ask, call, call_item, reject
from turnkeeper_storage.database import Database
from turnkeeper_storage.items import Item, Json, user_message
from turnkeeper_storage.migrate import upgrade_async
from turnkeeper_storage.model import Run, RunOptions
from turnkeeper_storage.outputs import outputs_of
from turnkeeper_storage.run_state import VERSION
from turnkeeper_storage.verbs.move import export_state

FOLDER = Path(__file__).parent


async def gated(parking: Parking) -> Run:
    return (await parking.parked("call_1", expires_in=3600.0)).run


async def partly_decided(parking: Parking) -> Run:
    """Approved with edits, rejected for good, and one still open; somebody has added input."""
    parked = await parking.parked("call_1", "call_2", "call_3")
    await parking.decide(parked.approvals[0], approve(arguments='{"order":7,"amount":5}', note="less"))
    await parking.decide(parked.approvals[1], reject("twice the same order"))
    return await parking.add_input(parked.run, "Please hurry.")


async def in_doubt(parking: Parking) -> Run:
    return (await parking.in_doubt(tool_seconds=30)).run


async def hosted(parking: Parking) -> Run:
    return (await parking.parked("mcpr_1", kind="mcp")).run


async def decided(parking: Parking) -> Run:
    parked = await parking.parked("call_1", "call_2")
    return (await parking.decide(parked.approvals[0], approve(sticky=True))).run


async def second_turn(parking: Parking) -> Run:
    """A streamed run that parked in its second turn, with a sibling that is done."""
    await parking.put(replace(new_run("s"), options=RunOptions(stream=True, metadata={"order": 7})))
    job = await parking.answered([call("call_1", name="look_up")], job=await parking.take())
    await parking.settle(job, "call_1", "Order 7: a lamp, 40 €")
    calls = [call("call_2", 0, turn=2), call("call_3", 1, turn=2, name="look_up")]
    job = await parking.answered(calls, turn=2, job=job)
    await parking.settle(job, "call_3", "Order 7: paid")
    first = list((await parking.calls(job.run)).values())
    made: list[Item] = [call_item(first[0]), *outputs_of(first, 1), *map(call_item, calls)]
    history = [user_message("hello"), *made]
    return (await parking.park_job(job, [ask(calls[0])], turn=2, add=adds(job, history, turn=2))).run


CASES: dict[str, Callable[[Parking], Awaitable[Run]]] = {
    case.__name__: case for case in (gated, partly_decided, in_doubt, hosted, decided, second_turn)
}


async def made(case: Callable[[Parking], Awaitable[Run]]) -> Json:
    """The export of one case, on a database of its own."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/golden.db"
        await upgrade_async(url)
        database = Database(url, lease_seconds=LEASE_SECONDS)
        try:
            run = await case(Parking(database))
            return await database.transact(lambda uow: export_state(uow, run.session_key, run.id, run.tenant))
        finally:
            await database.aclose()


async def main() -> None:
    for name, case in CASES.items():
        path = FOLDER / f"run_state_v{VERSION}_{name}.json"
        text = json.dumps(await made(case), ensure_ascii=False, indent=1) + "\n"
        await asyncio.to_thread(path.write_text, text)


if __name__ == "__main__":
    asyncio.run(main())
