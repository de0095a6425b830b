"""`turnkeeper sessions check`: find broken histories, and repair them on request."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

import typer

from turnkeeper.cli import output
from turnkeeper.cli.options import AsJson, By, Yes, client_of, confirm, me
from turnkeeper_client import Client
from turnkeeper_storage.checking import SessionCheck
from turnkeeper_storage.errors import (
    Conflict,
    InvalidInput,
    LeaseLost,
    NotFound,
    StoreUnavailable,
    TurnkeeperError,
)
from turnkeeper_storage.history_faults import FaultKind, HistoryFault
from turnkeeper_storage.items import Json

PAGE = 200
STILL_BROKEN = 1
_WORDS = {
    FaultKind.UNREADABLE: "cannot be read",
    FaultKind.CALL_WITHOUT_OUTPUT: "a call without its output",
    FaultKind.OUTPUT_WITHOUT_CALL: "an output without its call",
    FaultKind.REASONING_WITHOUT_ITEM: "reasoning without what it led to",
    FaultKind.MISPLACED_TRIGGER: "a compaction trigger that is not the last item",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be done about what is found."""

    repair: bool
    remove_unreadable: bool
    by: str


@dataclass(slots=True)
class Tally:
    """What was found so far; `failed`: by session, why it could not be looked at or repaired."""

    checks: list[SessionCheck] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    looked_at: int = 0

    @property
    def is_clean(self) -> bool:
        return not self.failed and all(check.is_whole for check in self.checks)

    def as_json(self) -> dict[str, Json]:
        return {
            "looked_at": self.looked_at,
            "sessions": [check.as_json() for check in self.checks],
            "failed": self.failed,
        }


def check(
    context: typer.Context,
    session_id: Annotated[
        str | None, typer.Argument(metavar="SESSION_ID", help="The session to look at.", show_default=False)
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Look at every session of the tenant.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Take out what is broken; runs leave it out anyway.")
    ] = False,
    remove_unreadable: Annotated[
        bool,
        typer.Option("--remove-unreadable", help="With --repair: also items that cannot be read, for good."),
    ] = False,
    yes: Yes = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Find what is broken in stored histories: what no model is ever given. Exit 1: something is left."""
    if (session_id is None) is not all_:
        raise InvalidInput("SESSION_ID", "and --all exclude each other", "name one session, or use --all")
    if remove_unreadable and not repair:
        raise InvalidInput("--remove-unreadable", "is only for a repair", "add --repair")
    if repair:
        what = "every session" if session_id is None else output.clean(session_id)
        also = " and cannot be read" if remove_unreadable else ""
        confirm(f"Take out of {what} what is broken{also}?", yes=yes)
    wish = Wish(repair, remove_unreadable, by or me("cli"))
    with client_of(context) as client:
        if session_id is not None:
            tally = Tally([_look(client, session_id, wish)], looked_at=1)
        else:
            tally = _look_at_all(client, wish)
    if as_json:
        output.write_json(tally.as_json())
    else:
        _show(tally)
    if not tally.is_clean:
        raise typer.Exit(STILL_BROKEN)


def _look(client: Client, session_id: str, wish: Wish) -> SessionCheck:
    found = client.check_session(session_id)
    if not wish.repair or not found.faults:
        return found
    return client.repair_session(session_id, remove_unreadable=wish.remove_unreadable, by=wish.by)


def _look_at_all(client: Client, wish: Wish) -> Tally:
    tally = Tally()
    for session_id in _ids(client):
        tally.looked_at += 1
        try:
            found = _look(client, session_id, wish)
        except NotFound:
            continue  # deleted since it was listed
        except (Conflict, StoreUnavailable, LeaseLost) as error:
            tally.failed[session_id] = _first_line(error)
            continue
        if found.faults:
            tally.checks.append(found)
    return tally


def _ids(client: Client) -> Iterator[str]:
    cursor: str | None = None
    seen = 0
    while True:
        page = client.sessions(limit=PAGE, cursor=cursor)
        for one in page.sessions:
            yield one.id
        seen += len(page.sessions)
        cursor = page.next_cursor
        if cursor is None:
            return
        with contextlib.suppress(OSError):
            typer.echo(f"{seen} sessions …", err=True)


def _show(tally: Tally) -> None:
    rows = [
        (check.session_id, str(fault.place), _WORDS[fault.kind], _named(fault))
        for check in tally.checks
        for fault in check.faults
    ]
    if rows:
        output.write_table(("SESSION", "ITEM", "WHAT", "WHICH"), rows)
    for session_id, why in tally.failed.items():
        output.write(f"{session_id}: {why}")
    kinds = Counter(fault.kind for check in tally.checks for fault in check.faults)
    removed = sum(check.removed for check in tally.checks)
    left = kinds.total() - removed
    looked = "1 session" if tally.looked_at == 1 else f"{tally.looked_at} sessions"
    output.write(f"{looked}: {kinds.total()} broken items, {removed} removed, {left} left.")
    if left and kinds[FaultKind.UNREADABLE]:
        output.write("While items cannot be read nothing is removed: give their key, or --remove-unreadable.")
    elif left and not removed:
        output.write("Runs leave them out by themselves; --repair takes them out of the store.")


def _named(fault: HistoryFault) -> str:
    return " ".join(part for part in (fault.item_type, fault.item_id) if part)


def _first_line(error: TurnkeeperError) -> str:
    return str(error).partition("\n")[0]
