"""What commands write: JSON for programs, tables and lines for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from turnkeeper_storage.items import CALL_TYPES, OUTPUT_TYPES, Item, Json, text_of

WIDE = 200
# C0 and C1 but tab and line feed: an item may hold what would drive the terminal
_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


def write_json(document: Json) -> None:
    """One JSON document on standard output."""
    text = json.dumps(document, ensure_ascii=False, indent=2)
    sys.stdout.write(_encodable(text) + "\n")


def write(text: str = "") -> None:
    """A line for people."""
    sys.stdout.write(_encodable(clean(text)) + "\n")


def write_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table as wide as the terminal; as wide as its content where there is none."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(_encodable(clean(cell))) for cell in row))
    is_terminal = sys.stdout.isatty()
    Console(file=sys.stdout, width=None if is_terminal else WIDE, highlight=False).print(table)


def describe_item(item: Item) -> str:
    """An item in words: `user: …`, `call name(arguments)`, `output: …`."""
    kind = str(item.get("type") or "message")
    if kind == "message":
        text = text_of(item)
        return f"{item.get('role', 'message')}: {text or _short(item.get('content'))}"
    if kind in CALL_TYPES:
        arguments = item.get("arguments", item.get("input", ""))
        return f"call {item.get('name', '?')}({arguments}) [{item.get('call_id', '?')}]"
    if kind in OUTPUT_TYPES:
        output = item.get("output")
        return f"output: {output if isinstance(output, str) else _short(output)} [{item.get('call_id', '?')}]"
    if kind == "reasoning":
        return f"reasoning: {_summary(item) or '(hidden)'}"
    return f"{kind}: {_short({name: value for name, value in item.items() if name != 'type'})}"


def when(instant: datetime | None) -> str:
    """An instant to the second, in UTC."""
    return "" if instant is None else instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def as_text(value: Json) -> str:
    """A JSON value for people: a text as it is, nothing for none."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def clean(text: str) -> str:
    """The text without what would drive the terminal."""
    return text.translate(_CONTROLS)


def _summary(item: Mapping[str, Json]) -> str:
    parts = item.get("summary")
    if not isinstance(parts, list):
        return ""
    return " ".join(str(part.get("text", "")) for part in parts if isinstance(part, Mapping))


def _short(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= WIDE else text[: WIDE - 1] + "…"


def _encodable(text: str) -> str:
    # lone surrogates, and letters that the terminal's encoding lacks, become escapes
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
