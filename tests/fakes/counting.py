"""What runs cost in counts: a worker inside of the test behind a tap, and each transaction with its verb.

    async with counted_worker(url) as counted:
        costs = await counted.run("customer-42", plan("look"))
        costs["checkpoint"].statements

A verb is the name that the transaction was given (`Database.transact(…, "claim")`), or for one without a name
the function that its work stands in. It goes over the wire as a comment of each statement. Nothing else
runs: no heartbeat, no sweep, no polling for the end.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, TypeAlias
from unittest import mock

from sqlalchemy import Engine, Executable, event

from tests.fakes.model_server import ScriptedModel
from tests.fakes.plans import follow_plan
from tests.fakes.postgres_tap import PostgresTap, Transaction
from tests.fakes.wait import eventually
from tests.fakes.worker import Worker, running_worker
from turnkeeper_storage.database import Database
from turnkeeper_storage.fixed_statements import FixedStatement, FixedStatements
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.tools import tool
from turnkeeper_worker.windows import last_items


@tool
async def look() -> str:
    """An idempotent tool."""
    return "look done"


@tool(needs_approval=True)
async def pay() -> str:
    """A gated tool, which is no idempotent one."""
    return "pay done"


AGENT = Agent(name="support", model="gpt-5.2", tools=[look, pay])
WINDOWED = Agent(name="windowed", model="gpt-5.2", tools=[look, pay], session_input_callback=last_items(50))


@dataclass(frozen=True, slots=True)
class Cost:
    """Of all transactions of one verb. `writes` are those transactions that do not only read.

    `prepares` is 0 once its connection knows the statements; `sent_bytes` is what the server is given.
    """

    transactions: int = 0
    writes: int = 0
    statements: int = 0
    round_trips: int = 0
    prepares: int = 0
    sent_bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.transactions + other.transactions,
            self.writes + other.writes,
            self.statements + other.statements,
            self.round_trips + other.round_trips,
            self.prepares + other.prepares,
            self.sent_bytes + other.sent_bytes,
        )


Costs: TypeAlias = dict[str, Cost]


def total(costs: Costs) -> Cost:
    """Of all verbs together."""
    return sum(costs.values(), Cost())


# what a client asks now and then, whatever runs there are
NOW_AND_THEN = "agents.list_agents"


@dataclass(slots=True)
class Counted:
    """A worker whose database and model are counted. What it did once, its connections have prepared."""

    worker: Worker
    tap: PostgresTap
    model: ScriptedModel
    sessions: int = 0

    def new_session(self) -> str:
        """The id of a session that is not there; all are of the same length."""
        self.sessions += 1
        return f"session-{self.sessions:04}"

    async def run(self, session: str, text: str, *, agent: str = "support", stream: bool = False) -> Costs:
        """Enqueue a run, and count until its session is given back."""
        self.tap.taken()
        await self.worker.client.enqueue(session, text, agent=agent, stream=stream)
        return await self.costs()

    async def approve(self, session: str) -> Costs:
        """Approve the one call that a session waits for, and count until it is given back again."""
        (waiting,) = (await self.worker.client.approvals(session_id=session, status="pending")).approvals
        self.tap.taken()
        await self.worker.client.approve(waiting.id, by="ana")
        return await self.costs()

    async def costs(self) -> Costs:
        """What was sent since the last count, once no session is in work here."""
        await eventually(lambda: self.worker.host.in_work == 0)
        found = by_verb(self.tap.taken())
        found.pop(NOW_AND_THEN, None)
        return found


@contextlib.asynccontextmanager
async def counted_worker(url: str, *, redis_url: str | None = None) -> AsyncIterator[Counted]:
    """A worker until the block ends. Its model follows the plans of `tests.fakes.plans`."""
    async with PostgresTap(url) as tap, ScriptedModel(answer=follow_plan) as model:
        with labelled():
            agents = [AGENT, WINDOWED]
            async with running_worker(
                tap.url, model, agents=agents, starts=False, redis_url=redis_url
            ) as worker:
                yield Counted(worker, tap, model)


def by_verb(transactions: list[Transaction]) -> Costs:
    """The costs of transactions, verb by verb."""
    found: Costs = {}
    for one in transactions:
        verb = verb_of(one)
        writes = any(not _READS.match(text) for text in one.statements)
        cost = Cost(1, int(writes), len(one.statements), one.round_trips, one.prepares, one.sent_bytes)
        found[verb] = found.get(verb, Cost()) + cost
    return found


def verb_of(transaction: Transaction) -> str:
    """The verb that a transaction's statements name; "unnamed" for statements that nobody labelled."""
    named = {_verb_in(text) for text in transaction.statements}
    return "+".join(sorted(named)) or "nothing"


# a lock is a write: it is logged, and waits for others
_READS = re.compile(r"\s*SELECT\b(?!.*\bFOR (NO KEY )?(UPDATE|SHARE)\b)", re.DOTALL)
_LABEL = re.compile(r" /\* verb: (.*) \*/$")
_verb: ContextVar[str] = ContextVar("verb", default="unnamed")


def _verb_in(text: str) -> str:
    found = _LABEL.search(text)
    return found[1] if found else "unnamed"


def current_verb() -> str:
    """The verb of the transaction that the caller is in."""
    return _verb.get()


def plain_text(text: str) -> str:
    """A statement without its label."""
    return _LABEL.sub("", text)


@contextlib.contextmanager
def named() -> Iterator[None]:
    """Let `current_verb` know the verb of each transaction that begins in this block."""
    with contextlib.ExitStack() as stack:
        for method in ("transact", "transact_once", "read"):
            original = getattr(Database, method)
            stack.enter_context(mock.patch.object(Database, method, _naming(original)))
        yield


@contextlib.contextmanager
def labelled() -> Iterator[None]:
    """Write the verb behind each statement of this process; once, when blocks of it stand in another."""
    if event.contains(Engine, "before_cursor_execute", _label):
        yield
        return
    with named():
        event.listen(Engine, "before_cursor_execute", _label, retval=True)
        try:
            with mock.patch.object(FixedStatements, "find", _labelling(FixedStatements.find)):
                yield
        finally:
            event.remove(Engine, "before_cursor_execute", _label)


def _naming(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(original)
    async def naming(self: Database, work: Callable[..., Any], *given: str, **more: str) -> Any:
        name = (*given, more.get("name", ""))[0] or _function_of(work)
        token = _verb.set(name)
        try:
            return await original(self, work, *given, **more)
        finally:
            _verb.reset(token)

    return naming


Find: TypeAlias = Callable[[FixedStatements, Executable], FixedStatement | None]


def _labelling(find: Find) -> Find:
    def found(self: FixedStatements, statement: Executable) -> FixedStatement | None:
        fixed = find(self, statement)
        return fixed and replace(fixed, sql=f"{fixed.sql} /* verb: {_verb.get()} */")

    return found


def _function_of(work: Callable[..., Any]) -> str:
    while isinstance(work, functools.partial):
        work = work.func
    outer, _, _ = work.__qualname__.partition(".<locals>")
    # of a class its method, else the function with its module
    return outer.rpartition(".")[2] if "." in outer else f"{work.__module__.rpartition('.')[2]}.{outer}"


def _label(
    connection: object, cursor: object, statement: str, parameters: object, context: object, many: bool
) -> tuple[str, object]:
    return f"{statement} /* verb: {_verb.get()} */", parameters


# by verb: at most so many transactions, statements and round trips
Most: TypeAlias = Mapping[str, tuple[int, int, int]]


def excess(found: Costs, most: Most) -> list[str]:
    """What costs more than `most` allows, in words. A verb that is not in it costs too much in any case."""
    told = []
    for verb, cost in found.items():
        seen = (cost.transactions, cost.statements, cost.round_trips)
        allowed = most.get(verb, (0, 0, 0))
        if any(one > limit for one, limit in zip(seen, allowed, strict=True)):
            told.append(f"{verb}: {seen} transactions, statements and round trips, at most {allowed}")
    return told
