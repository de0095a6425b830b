"""What callers hand in, checked at the edge. Pure: no database, no loop.

Every error names the field, describes the value without its content, and says what to do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from turnkeeper_storage import ids
from turnkeeper_storage.errors import InputTooLarge, InvalidInput, NotFound
from turnkeeper_storage.items import Item, Json, as_items, decode, digest, encode
from turnkeeper_storage.model import RunOptions, RunStatus
from turnkeeper_storage.repositories.runs import NewRun

MAX_NAME = 255
MAX_METADATA_BYTES = 16_384
MAX_PAGE = 1_000


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


def new_run(request: EnqueueRequest, *, tenant: str, max_input_bytes: int) -> NewRun:
    """The checked request as a run with an id of its own, ready to be stored.

    The id is made here, before the transaction: a commit whose answer is lost can be repeated. The input is a
    copy, so that what the caller changes later does not reach the run. Raises InvalidInput, InputTooLarge.
    """
    session_id = ids.check_session_id(request.session_id)
    agent = check_text(request.agent, "agent")
    key = request.idempotency_key
    options = RunOptions(
        stream=check_flag(request.stream, "stream"),
        max_turns=check_max_turns(request.max_turns),
        metadata=check_metadata(request.metadata),
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


def check_max_turns(value: int | None) -> int | None:
    """None, or a whole number of at least 1."""
    if value is None:
        return None
    return _check_count(value, "max_turns")


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


def check_timeout(value: float | None) -> float | None:
    """Seconds of at least 0; None for no limit."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidInput("timeout", f"is {type(value).__name__}", "use seconds, or None for no limit")
    if math.isnan(value) or value < 0:
        raise InvalidInput("timeout", f"is {value}", "use seconds of at least 0, or None for no limit")
    return None if math.isinf(value) else float(value)


def check_limit(value: int) -> int:
    """How many entries a page may have: 1 to 1,000."""
    if _check_count(value, "limit") > MAX_PAGE:
        raise InvalidInput("limit", f"is {value}", f"use at most {MAX_PAGE} and follow next_cursor")
    return value


def check_status(value: RunStatus | str | None) -> RunStatus | None:
    """A run's status by its name."""
    if value is None:
        return None
    try:
        return RunStatus(value)
    except ValueError:
        known = ", ".join(status.value for status in RunStatus)
        raise InvalidInput("status", f"{str(value)[:64]!r} is none", f"use one of: {known}") from None


def check_run_cursor(value: str | None) -> str | None:
    """A cursor as a page of runs gave it."""
    if value is None:
        return None
    try:
        run_key(value, field="cursor")
    except NotFound:
        raise InvalidInput("cursor", "is no cursor of a page of runs", "pass next_cursor as given") from None
    return value


def run_key(run_id: str, *, field: str = "run_id") -> str:
    """The session key inside a run's id. Raises NotFound for a text that is no id, InvalidInput for no text."""
    if not isinstance(run_id, str):
        raise InvalidInput(field, f"is {type(run_id).__name__}", "use the text in `.id` of a run")
    return ids.key_of(run_id)


def _check_count(value: int, field: str) -> int:
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
