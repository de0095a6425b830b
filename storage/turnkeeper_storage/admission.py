"""What may be enqueued: every check of a request's fields, in one place for every way in. Pure.

Every error names the field, describes the value without its content, and says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from turnkeeper_storage import ids
from turnkeeper_storage.errors import InputTooLarge, InvalidInput, UnknownAgent
from turnkeeper_storage.items import Item, Json, as_items, decode, digest, encode
from turnkeeper_storage.model import NewRun, OnPaused, RunOptions

MAX_METADATA_BYTES = 16_384


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


def new_run(request: EnqueueRequest, *, tenant: str, max_input_bytes: int) -> NewRun:
    """The checked request as a run with an id of its own, ready to be stored.

    The id is made here, before the transaction: a commit whose answer is lost can be repeated. The input is a
    copy, so that what the caller changes later does not reach the run. Raises InvalidInput, InputTooLarge.
    """
    session_id = ids.check_session_id(request.session_id)
    agent = check_text(request.agent, "agent")
    key, callback = request.idempotency_key, request.session_input_callback
    options = RunOptions(
        stream=check_flag(request.stream, "stream"),
        max_turns=check_max_turns(request.max_turns),
        metadata=check_metadata(request.metadata),
        session_input_callback=None if callback is None else check_text(callback, "session_input_callback"),
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


def check_max_turns(value: int | None) -> int | None:
    """None, or a whole number of at least 1."""
    if value is None:
        return None
    return check_count(value, "max_turns")


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
