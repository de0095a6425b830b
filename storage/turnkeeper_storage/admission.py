"""What may be enqueued: every check of a request's fields, in one place for every way in. Pure.

Every error names the field, describes the value without its content, and says what to do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from turnkeeper_storage import ids
from turnkeeper_storage.errors import InputTooLarge, InvalidInput, UnknownAgent
from turnkeeper_storage.items import Item, Json, as_items, decode, digest, encode
from turnkeeper_storage.model import NewRun, OnPaused, RunOptions

MAX_METADATA_BYTES = 16_384
# ten years: what the clock of every database can count to
MAX_SECONDS = 315_360_000.0


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How many runs may be queued at once, those in work or parked not counted; None for no limit."""

    per_session: int | None = None
    per_tenant: int | None = None


@dataclass(frozen=True, slots=True)
class EnqueueRequest:
    """What an enqueue was given, as it was given."""

    session_id: str
    input: str | list[Item]
    agent: str
    idempotency_key: str | None = None
    stream: bool = False
    max_turns: int | None = None
    metadata: Mapping[str, Json] | None = None
    session_input_callback: str | None = None
    deadline_seconds: float | None = None
    token_limit: int | None = None


def new_run(
    request: EnqueueRequest, *, tenant: str, max_input_bytes: int, deadline_seconds: float | None = None
) -> NewRun:
    """The checked request as a run with an id of its own, ready to be stored.

    The id is made here, before the transaction: a commit whose answer is lost can be repeated. The input is a
    copy, so that what the caller changes later does not reach the run. `deadline_seconds` is the setting's,
    for a request that says none: no part of the request's digest, so that a repeat after a change of the
    setting is a repeat still. Raises InvalidInput, InputTooLarge.
    """
    session_id = ids.check_session_id(request.session_id)
    agent = check_text(request.agent, "agent")
    key, callback = request.idempotency_key, request.session_input_callback
    options = RunOptions(
        stream=check_flag(request.stream, "stream"),
        max_turns=check_limit(request.max_turns, "max_turns"),
        metadata=check_metadata(request.metadata),
        session_input_callback=None if callback is None else check_text(callback, "session_input_callback"),
        deadline_seconds=check_seconds(request.deadline_seconds, "deadline_seconds"),
        token_limit=check_limit(request.token_limit, "token_limit"),
    )
    items = _sized_copy(as_items(request.input), "input", max_input_bytes)
    session_key = ids.session_key(tenant, session_id)
    return NewRun(
        session_key=session_key,
        id=ids.new_run_id(session_key),
        tenant=tenant,
        session_id=session_id,
        agent=agent,
        input=items,
        input_digest=digest({"input": items, "agent": agent, "options": options.as_json()}),
        options=options,
        idempotency_key=None if key is None else check_text(key, "idempotency_key"),
        deadline_seconds=deadline_seconds if options.deadline_seconds is None else options.deadline_seconds,
    )


def check_text(value: str, field: str) -> str:
    """A name or a key: 1 to 255 characters, none of them a control character."""
    return ids.check_session_id(value, field=field)


def check_flag(value: bool, field: str) -> bool:
    """A bool, and nothing that merely looks like one."""
    if not isinstance(value, bool):
        raise InvalidInput(field, f"is {type(value).__name__}", "use True or False")
    return value


def check_on_paused(value: OnPaused | str) -> OnPaused:
    """One of the ways to meet a parked head."""
    try:
        return OnPaused(value)
    except ValueError:
        known = ", ".join(repr(choice.value) for choice in OnPaused)
        raise InvalidInput("on_paused", f"is {str(value)[:40]!r}", f"use one of {known}") from None


def check_limit(value: int | None, field: str) -> int | None:
    """None, or a whole number of at least 1."""
    return None if value is None else check_count(value, field)


def check_seconds(value: float | None, field: str) -> float | None:
    """None, or a time of more than 0 s and at most ten years."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(field, f"is {type(value).__name__}", "use seconds, as a number above 0")
    if not math.isfinite(value) or not 0 < value <= MAX_SECONDS:
        raise InvalidInput(field, f"is {value:g}", f"use seconds above 0, at most {MAX_SECONDS:,.0f}")
    return float(value)


def check_metadata(value: Mapping[str, Json] | None) -> dict[str, Json]:
    """A JSON object of at most 16 KiB; {} for None."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInput("metadata", f"is {type(value).__name__}", "use a JSON object")
    text = encode(dict(value), field="metadata")
    size = len(text.encode())
    if size > MAX_METADATA_BYTES:
        raise InvalidInput(
            "metadata",
            f"{size:,} bytes are over the limit of {MAX_METADATA_BYTES:,}",
            "keep what is large elsewhere and put its key here",
        )
    copied: dict[str, Json] = decode(text)
    return copied


def check_count(value: int, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(field, f"is {type(value).__name__}", "use a whole number of at least 1")
    if value < 1:
        raise InvalidInput(field, f"is {value}", "use at least 1")
    return value


def _sized_copy(items: list[Item], field: str, limit: int) -> list[Item]:
    text = encode(items, field=field)
    size = len(text.encode())
    if size > limit:
        raise InputTooLarge(field, size, limit)
    copied: list[Item] = decode(text)
    return copied


def check_agent(agent: str, known: Sequence[str]) -> None:
    """Raise UnknownAgent when workers have registered agents, and this is none of them."""
    if known and agent not in known:
        raise UnknownAgent(agent, known)
