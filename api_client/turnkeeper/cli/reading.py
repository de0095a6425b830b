"""What commands read: a text, items, metadata; from an argument, a file or standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from turnkeeper_storage.errors import InvalidInput
from turnkeeper_storage.items import Item, Json, as_items, decode


def read_input(text: str | None, items: Path | None, *, role: str = "user") -> list[Item]:
    """The items of TEXT (`-` for standard input) or of the JSON file `--items` (`-` likewise)."""
    if (text is None) == (items is None):
        raise InvalidInput("TEXT", "is given with --items, or neither is", "give a text or --items FILE")
    if items is not None:
        return as_items(parse_json(_read(items), "--items"), field="--items")
    content = sys.stdin.read() if text == "-" else text
    found = as_items(content, field="TEXT")
    return [{**item, "role": role} for item in found]


def parse_json(text: str, field: str) -> Json:
    """The value of a JSON text. Raises InvalidInput with the place of the fault, never with the text."""
    try:
        return decode(text)
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        column = getattr(error, "colno", 1)
        raise InvalidInput(
            field, f"is no JSON (line {line}, column {column})", "send one JSON document"
        ) from None


def _read(path: Path) -> str:
    if str(path) == "-":
        return sys.stdin.read()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            "--items", f"{str(path)!r} cannot be read ({type(error).__name__})", "name a file of UTF-8 JSON"
        ) from None
