"""What a run costs in counts, which no load changes: transactions, statements, round trips, rows, bytes.

Counted on the wire before PostgreSQL, with a worker in this process (see `tests.fakes.counting`) for what a
run takes, and with a worker process of its own for what goes to Redis and what an idle worker asks.
`tests/unit/test_counts_per_run.py` guards the same counts.
"""

from __future__ import annotations

import asyncio

from benchmarks.counting import TappedSite, Traffic, Wal, tapped_site
from benchmarks.ground import Ground
from benchmarks.results import Budget, Figure, Measured, Series
from tests.fakes.counting import Costs, Counted, counted_worker, total
from tests.fakes.plans import plan
from tests.fakes.written_rows import WrittenRows
from turnkeeper_storage.items import user_message

PART = "counts"
ONE_TURN, TOOL_TURN, TWO_TOOL_TURNS, GATED = (
    plan(name="hello"),
    plan("look"),
    plan("look", "look"),
    plan("pay"),
)
HISTORIES = (0, 100, 1000)
BATCH, BATCHES = 5, 4
IDLE_SECONDS = 10.0


async def measure(ground: Ground) -> Measured:
    """Each kind of run, runs in sessions that grow, and a worker process."""
    figures: list[Figure] = []
    async with ground.database() as url, counted_worker(url) as counted:
        await _warm(counted)
        told, notes = await _kinds(counted)
        figures += told + await _wake_ups(counted)
        ground.say("counts: kinds of runs are counted")
        told, series = await _growing(counted, url)
        figures += told
    ground.say("counts: growing sessions are counted")
    figures += await _rows(ground)
    ground.say("counts: rows are counted")
    async with tapped_site(ground) as site:
        figures += await _processes(site, ground.scale.of(200, 20))
    return Measured(figures, series, notes)


async def _warm(counted: Counted) -> None:
    for words in (ONE_TURN, TOOL_TURN, TWO_TOOL_TURNS, GATED):
        session = counted.new_session()
        await counted.run(session, words)
    await counted.approve(session)


async def _kinds(counted: Counted) -> tuple[list[Figure], list[str]]:
    one = await _costs(counted, ONE_TURN)
    two = await _costs(counted, TOOL_TURN)
    three = await _costs(counted, TWO_TOOL_TURNS)
    session = counted.new_session()
    asked = await counted.run(session, GATED)
    decided = await counted.approve(session)
    kinds = {
        "one-turn run": one,
        "run with one tool turn": two,
        "run until its approval": asked,
        "run from its decision": decided,
    }
    figures = [figure for name, costs in kinds.items() for figure in _figures(name, costs)]
    further = {"transactions": 0, "statements": 0, "round_trips": 0, "sent_bytes": 0}
    for field in further:
        further[field] = getattr(total(three), field) - getattr(total(two), field)
    figures += [
        Figure(PART, f"further turn with a tool: {field.replace('_', ' ')}", value, _UNITS[field])
        for field, value in further.items()
    ]
    notes = [
        "| kind of run | verb | transactions | statements | round trips |",
        "| --- | --- | --: | --: | --: |",
    ]
    for name, costs in kinds.items():
        notes += [
            f"| {name} | {verb} | {cost.transactions} | {cost.statements} | {cost.round_trips} |"
            for verb, cost in costs.items()
        ]
    return figures, notes


_UNITS = {"transactions": "", "writes": "", "statements": "", "round_trips": "", "sent_bytes": "B"}


def _figures(name: str, costs: Costs) -> list[Figure]:
    found = total(costs)
    budget = Budget(3) if name == "one-turn run" else None
    return [
        Figure(PART, f"{name}: transactions that write", found.writes, "", None, budget),
        Figure(PART, f"{name}: transactions", found.transactions, ""),
        Figure(PART, f"{name}: statements", found.statements, ""),
        Figure(PART, f"{name}: round trips", found.round_trips, ""),
        Figure(PART, f"{name}: sent to PostgreSQL", found.sent_bytes, "B"),
    ]


async def _costs(counted: Counted, words: str) -> Costs:
    return await counted.run(counted.new_session(), words)


async def _wake_ups(counted: Counted) -> list[Figure]:
    rung, client, requests = counted.worker.bell.rung, counted.worker.client, counted.model.requests
    rung.clear()
    requests.clear()
    await counted.run(counted.new_session(), ONE_TURN)
    idle, asked = len(rung), len(requests)
    session = counted.new_session()
    counted.model.hold()
    await client.enqueue(session, ONE_TURN, agent="support")
    await counted.model.wait_for_in_flight(1)
    rung.clear()
    for _ in range(10):
        await client.enqueue(session, ONE_TURN, agent="support")
    counted.model.release()
    await counted.costs()
    return [
        Figure(PART, "one-turn run: model requests", asked, "", None, Budget(1)),
        Figure(PART, "wake-ups of a run in an idle session", idle, "", None, Budget(1)),
        Figure(PART, "wake-ups of 10 runs in a busy session", len(rung), "", None, Budget(0)),
    ]


async def _growing(counted: Counted, url: str) -> tuple[list[Figure], list[Series]]:
    """Bytes per run in sessions that hold so many items already."""
    wal = Wal(url)
    wal.checkpoint()
    figures: list[Figure] = []
    lines: dict[str, list[tuple[float, float]]] = {}
    for name, words in (("one-turn run", ONE_TURN), ("run with one tool turn", TOOL_TURN)):
        for items in HISTORIES:
            sent, written = await _bytes(counted, wal, items, words)
            for what, value in (("sent", sent), ("WAL", written)):
                beside = f"{name}: {what}, 0 items" if items else None
                # a run with a tool stores its merged input, once: that is as long as the history
                limit = Budget(1.1 if what == "sent" else 1.25, of="ratio")
                budget = limit if items and words == ONE_TURN else None
                figures.append(Figure(PART, f"{name}: {what}, {items:,} items", value, "B", beside, budget))
                lines.setdefault(f"{name}: {what}", []).append((items, value))
    wal.close()
    return figures, [
        Series(PART, "Bytes written per run as a session grows", "items in the session", "bytes", lines)
    ]


async def _bytes(counted: Counted, wal: Wal, items: int, words: str) -> tuple[float, float]:
    """Of one run, sent and logged, in a session that begins with so many items."""
    session = counted.new_session()
    if items:
        history = [user_message(f"message {number}") for number in range(items)]
        await counted.worker.client.session(session).add_items(history)
    sent: list[int] = []

    async def batch() -> None:
        for _ in range(BATCH):
            sent.append(total(await counted.run(session, words)).sent_bytes)

    await batch()
    sent.clear()
    written = await wal.least(batch, BATCHES)
    return sum(sent) / len(sent), written / BATCH


async def _rows(ground: Ground) -> list[Figure]:
    figures: list[Figure] = []
    async with ground.database() as url:
        rows = WrittenRows(url)
        async with counted_worker(url) as counted:
            for name, words in (("one-turn run", ONE_TURN), ("run with one tool turn", TOOL_TURN)):
                session = counted.new_session()
                await counted.run(session, ONE_TURN)
                rows.taken()
                await counted.run(session, words)
                written = rows.taken()
                figures += [
                    Figure(PART, f"{name}: rows written in {table}", sum(actions.values()), "")
                    for table, actions in written.items()
                ]
    return figures


async def _processes(site: TappedSite, count: int) -> list[Figure]:
    await asyncio.sleep(IDLE_SECONDS)
    idle = await site.traffic()
    await site.runs(count, "alone", at_once=False)
    alone = await site.traffic()
    await site.runs(count, "burst", at_once=True)
    burst = await site.traffic()
    return [
        Figure(PART, "idle worker: round trips to PostgreSQL", idle.round_trips / IDLE_SECONDS, "1/s"),
        Figure(PART, "idle worker: commands to Redis", idle.redis.total() / IDLE_SECONDS, "1/s"),
        *_per_run("one run after the other", alone, count),
        *_per_run("all runs at once", burst, count),
    ]


def _per_run(name: str, seen: Traffic, count: int) -> list[Figure]:
    return [
        Figure(PART, f"{name}: transactions of the worker", seen.transactions / count, "1/run"),
        Figure(PART, f"{name}: statements of the worker", seen.statements / count, "1/run"),
        Figure(PART, f"{name}: round trips of the worker", seen.round_trips / count, "1/run"),
        Figure(PART, f"{name}: Celery messages", seen.messages / count, "1/run", None, Budget(1.05)),
        Figure(PART, f"{name}: Redis commands, without polling", seen.commands / count, "1/run"),
        Figure(
            PART, f"{name}: Redis commands that poll", (seen.redis.total() - seen.commands) / count, "1/run"
        ),
    ]
