"""A session as JSON lines: a header, then one item a line. Pure.

    {"turnkeeper": "session", "version": 1, "id": "customer-42", "owner": …, "metadata": …, …}
    {"item": {"type": "message", "role": "user", "content": "…"}}

An item of a run in our database has its `run_id`, `turn` and `created_at` beside it, for people who read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from turnkeeper_storage.admission import check_metadata
from turnkeeper_storage.errors import InvalidInput, UnknownStateVersion
from turnkeeper_storage.ids import check_session_id
from turnkeeper_storage.items import Item, Json, as_item, decode, encode

VERSION = 1
WORD = "session"


@dataclass(frozen=True, slots=True)
class SessionHeader:
    """What an export says about the session itself."""

    id: str
    owner: str | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)
    retention_seconds: float | None = None

    def line(self) -> str:
        """The first line."""
        return encode(
            {
                "turnkeeper": WORD,
                "version": VERSION,
                "id": self.id,
                "owner": self.owner,
                "metadata": dict(self.metadata),
                "retention_seconds": self.retention_seconds,
            }
        )


def item_line(item: Item, **beside: Json) -> str:
    """One further line; what is None in `beside` is left out."""
    return encode({"item": item, **{name: value for name, value in beside.items() if value is not None}})


def parse_lines(lines: Iterable[str]) -> tuple[SessionHeader, list[Item]]:
    """The session of an export. Empty lines are passed over.

    Raises InvalidInput that names the line, and UnknownStateVersion.
    """
    header: SessionHeader | None = None
    items: list[Item] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        document = _document(line, number)
        if header is None:
            header = _header(document, number)
        else:
            items.append(as_item(document.get("item"), field=f"line {number}, item"))
    if header is None:
        raise InvalidInput("lines", "are empty", "give what an export wrote")
    return header, items


def check_retention(seconds: float | None, field: str = "retention_seconds") -> float | None:
    """Seconds over 0, or None. Raises InvalidInput."""
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise InvalidInput(field, f"is {type(seconds).__name__}", "use seconds, or None")
    if not 0 < seconds < float("inf"):
        raise InvalidInput(field, f"is {seconds}", "use seconds over 0, or None")
    return float(seconds)


def _document(line: str, number: int) -> Mapping[str, Json]:
    try:
        document = decode(line)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, Mapping):
        raise InvalidInput(f"line {number}", "is no JSON object", "give what an export wrote, line by line")
    return document


def _header(document: Mapping[str, Json], number: int) -> SessionHeader:
    if document.get("turnkeeper") != WORD:
        raise InvalidInput(f"line {number}", "is no header of a session", "give what an export wrote")
    if document.get("version") != VERSION:
        raise UnknownStateVersion(document.get("version"), [VERSION])
    owner = document.get("owner")
    return SessionHeader(
        check_session_id(document.get("id", ""), field=f"line {number}, id"),
        None if owner is None else check_session_id(owner, field=f"line {number}, owner"),
        check_metadata(document.get("metadata")),
        check_retention(document.get("retention_seconds"), f"line {number}, retention_seconds"),
    )
