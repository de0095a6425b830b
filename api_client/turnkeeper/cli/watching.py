"""Approvals in words, and following those that wait."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import typer

from turnkeeper.cli import output
from turnkeeper_client import Client
from turnkeeper_client.approval_snapshots import ApprovalSnapshot
from turnkeeper_storage.errors import Conflict, DatabaseUnavailable, InvalidInput, NotFound
from turnkeeper_storage.items import encode
from turnkeeper_storage.model import ApprovalReason, ApprovalStatus

INTERVAL = 1.0
PAGE = 200
AWAY_SECONDS = 5.0
SHORT = 60


def short(approval: ApprovalSnapshot) -> str:
    """The arguments in one short line."""
    text = " ".join(_arguments(approval.arguments).split())
    return text if len(text) <= SHORT else text[: SHORT - 1] + "…"


def standing(approval: ApprovalSnapshot) -> str:
    """Its status in words: with the reason while it waits, with who decided after that."""
    if approval.status is ApprovalStatus.PENDING:
        if approval.reason is ApprovalReason.GATED:
            return "pending"
        later = "" if approval.available else ", not available yet"
        return f"pending ({approval.reason.value.replace('_', ' ')}{later})"
    return (
        f"{approval.status.value} by {approval.decided_by}" if approval.decided_by else approval.status.value
    )


def age(approval: ApprovalSnapshot) -> str:
    """How long ago it was asked for, roughly, by this machine's clock."""
    if approval.created_at is None:
        return ""
    return duration((datetime.now(UTC) - approval.created_at).total_seconds())


def duration(seconds: float) -> str:
    """Seconds for people: `12 s`, `5 min`, `3 h`, `2 d`."""
    left = max(0.0, seconds)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if left >= size:
            return f"{int(left // size)} {unit}"
    return f"{int(left)} s"


def lines_of(approval: ApprovalSnapshot) -> Iterator[tuple[str, str]]:
    """What is known about it: (name, text), without what is empty."""
    edited = approval.edited_arguments
    lines = [
        ("approval", approval.id),
        ("status", standing(approval)),
        ("tool", approval.tool),
        ("arguments", _arguments(approval.arguments)),
        ("edited", "" if edited is None else _arguments(edited)),
        ("session", approval.session_id),
        ("run", f"{approval.run_id}, turn {approval.turn}"),
        ("asked", output.when(approval.created_at)),
        ("available", "" if approval.available else output.when(approval.available_at)),
        ("expires", output.when(approval.expires_at)),
        ("decided", output.when(approval.decided_at)),
        ("outcome", approval.outcome or ""),
        ("sticky", "for this tool in this run" if approval.sticky else ""),
        ("note", approval.note or ""),
    ]
    yield from ((name, value) for name, value in lines if value)


def follow(
    client: Client, session: str | None, tool: str | None, interval: float
) -> Iterator[ApprovalSnapshot]:
    """Approvals that wait, oldest first, then new ones as they come; each once. It does not end.

    A database that goes away is told and asked again. Raises DatabaseUnavailable when it was never there.
    """
    seen: set[str] = set()
    yield from _unseen(client, session, tool, seen)
    while True:
        time.sleep(interval)
        try:
            fresh = _unseen(client, session, tool, seen)
        except DatabaseUnavailable as error:
            typer.echo(f"turnkeeper: {error}; trying again", err=True)
            time.sleep(AWAY_SECONDS)
            continue
        yield from fresh


def tell(approval: ApprovalSnapshot, *, as_json: bool) -> None:
    """One line about it, at once."""
    if as_json:
        sys.stdout.write(json.dumps(approval.as_json()) + "\n")
    else:
        arguments = short(approval)
        output.write(f"{approval.id} {approval.session_id} {approval.tool} {arguments} {standing(approval)}")
    sys.stdout.flush()


def ask(client: Client, approval: ApprovalSnapshot, by: str) -> bool:
    """Show it and ask what to do; False when one is done with deciding."""
    for name, value in lines_of(approval):
        output.write(f"{name + ':':<11}{value}")
    if approval.reason is ApprovalReason.IN_DOUBT:
        output.write(f"Look the call up, then: turnkeeper approvals resolve {approval.id} OUTCOME\n")
        return True
    try:
        answer = _choice()
        if answer == "approve":
            decided = client.approve(approval.id, by=by)
        elif answer == "reject":
            reason = typer.prompt("Reason (may be empty)", default="", show_default=False)
            decided = client.reject(approval.id, by=by, reason=reason or None)
        else:
            return answer == "skip"
    except typer.Abort:  # Ctrl-C or Ctrl-D at a question
        return False
    except (Conflict, NotFound, InvalidInput) as error:
        output.write(f"{error}\n")
        return True
    output.write(f"{decided.id} is {standing(decided)}.\n")
    return True


def _choice() -> str:
    names = {name[0]: name for name in ("approve", "reject", "skip", "quit")}
    while True:
        answer = str(typer.prompt("[a]pprove, [r]eject, [s]kip, [q]uit")).strip().lower()
        if answer in names.values() or answer in names:
            return names.get(answer, answer)


def _unseen(client: Client, session: str | None, tool: str | None, seen: set[str]) -> list[ApprovalSnapshot]:
    fresh: list[ApprovalSnapshot] = []
    cursor: str | None = None
    while True:
        page = client.approvals("pending", session, None, tool, limit=PAGE, cursor=cursor)
        new = [one for one in page.approvals if one.id not in seen]
        fresh += new
        seen.update(one.id for one in new)
        # newest first: once a page holds nothing new, older ones do not either
        if not new or page.next_cursor is None:
            return fresh[::-1]
        cursor = page.next_cursor


def _arguments(value: object) -> str:
    return value if isinstance(value, str) else encode(value)
