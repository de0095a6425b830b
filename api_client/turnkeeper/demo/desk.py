"""The demo's second act: an answer that is followed live, and two refunds that wait for a person."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from turnkeeper.demo import script
from turnkeeper.demo.evidence import read_waiting
from turnkeeper.demo.facts import Decided, Desk, Streamed
from turnkeeper.demo.listening import Listener
from turnkeeper.demo.processes import POLL_SECONDS, Child, Children, DemoFailed
from turnkeeper.demo.report import Report
from turnkeeper.demo.stage import Stage
from turnkeeper_client import AsyncClient, AsyncRunHandle
from turnkeeper_client.snapshots import RunSnapshot
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import WaitTimeout
from turnkeeper_storage.model import RunStatus


@dataclass(frozen=True, slots=True)
class Players:
    """What the acts are played with."""

    client: AsyncClient
    database: Database
    stage: Stage
    children: Children
    report: Report


async def play_desk(players: Players) -> tuple[list[AsyncRunHandle], Desk]:
    """Play it; the runs that were accepted, all ended, and what was seen meanwhile. Raises DemoFailed."""
    asked, streamed = await _follow_live(players)
    parked = [await players.client.enqueue(*one, agent=script.AGENT) for one in script.REFUNDS.items()]
    asking = [await _until_it_asks(handle) for handle in parked]
    behind = await players.client.enqueue(*script.BEHIND, agent=script.AGENT)
    waiting = await read_waiting(players.database, players.stage, behind.id)
    players.report.waits(waiting, f"{behind.session_id} sends message {behind.seq}, which has to wait")
    decided = [await _approve(players, asking[0]), *await _reject(players, asking[1])]
    handles = [*parked, behind]
    with players.report.waiting("the decisions wake them"):
        for handle in handles:
            players.report.ended(await ended(handle))
    return [asked, *handles], Desk(streamed, waiting, decided, behind.id)


async def ended(handle: AsyncRunHandle) -> RunSnapshot:
    """The run when it has ended, or when it waits for a person. Raises DemoFailed."""
    try:
        return await handle.wait(timeout=script.ANSWER_SECONDS)
    except WaitTimeout as error:
        raise DemoFailed(f"{handle.session_id}'s message {handle.seq}: {error}") from None


async def _follow_live(players: Players) -> tuple[AsyncRunHandle, Streamed | None]:
    """Ask streamed, and show the pieces as they come; without Redis there are none to follow."""
    handle = await players.client.enqueue(*script.STREAMED, agent=script.AGENT, stream=True)
    if players.client.settings.live_url is None:
        players.report.say("no Redis: answers are not followed live here")
        players.report.ended(await ended(handle))
        return handle, None
    listener = Listener(handle.id, time.monotonic())
    events = handle.events(timeout=script.ANSWER_SECONDS)
    with players.report.live(handle.session_id) as write:
        async with contextlib.aclosing(events):
            try:
                async for event in events:
                    write(listener.hear(event, time.monotonic()))
            except WaitTimeout as error:
                raise DemoFailed(f"{handle.session_id}'s message {handle.seq}: {error}") from None
    players.report.ended(await ended(handle))
    return handle, listener.heard()


async def _until_it_asks(handle: AsyncRunHandle) -> RunSnapshot:
    snapshot = await ended(handle)
    if snapshot.status is not RunStatus.AWAITING_APPROVAL or not snapshot.approvals:
        raise DemoFailed(
            f"{handle.session_id}'s message {handle.seq} is {snapshot.status.value} without a refund that "
            "needs a person: the model did not call the tool"
        )
    return snapshot


async def _approve(players: Players, asking: RunSnapshot) -> Decided:
    """Approve in a process of its own: the command line, as anybody could from another machine."""
    ids = [approval.id for approval in asking.approvals]
    words = ("approvals", "approve", *ids, "--by", script.APPROVER, "--note", script.NOTE)
    child = players.children.start("approve", "turnkeeper", *words)
    players.report.say(
        f"another process (pid {child.pid}) types: "
        f"turnkeeper approvals approve {' '.join(ids)} --by {script.APPROVER}"
    )
    code = await _code_of(child)
    if code != 0:
        raise DemoFailed(f"`turnkeeper approvals approve` ended with {code}: {_last_words(child)}")
    return Decided(ids, script.APPROVER, child.pid)


async def _reject(players: Players, asking: RunSnapshot) -> Sequence[Decided]:
    for approval in asking.approvals:
        await players.client.reject(approval.id, by=script.REJECTER, reason=script.REASON)
    players.report.say(f"{script.REJECTER} rejects {asking.session_id}'s refund: {script.REASON}")
    return [Decided([approval.id for approval in asking.approvals], script.REJECTER, None)]


async def _code_of(child: Child) -> int:
    limit = time.monotonic() + script.START_SECONDS
    while (code := child.code) is None:
        if time.monotonic() > limit:
            raise DemoFailed(f"{child.name} did not end within {script.START_SECONDS:g} s")
        await asyncio.sleep(POLL_SECONDS)
    return code


def _last_words(child: Child) -> str:
    return " | ".join(child.log().strip().splitlines()[-3:]) or "nothing was said"
