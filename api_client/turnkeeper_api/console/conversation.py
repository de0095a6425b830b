"""Items of a history as lines of a conversation. Pure; whoever shows them escapes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from turnkeeper_api.console.words import label_of, pretty, sentence
from turnkeeper_storage.items import CALL_TYPES, OUTPUT_TYPES, Item, Json, decode, text_of

_SAYS = {"user": "Person", "assistant": "Agent", "system": "System", "developer": "Developer"}


@dataclass(frozen=True, slots=True)
class Line:
    """One item. `kind`: "user", "assistant", "note", "call", "output", "thought" or "other".

    `text` is what it says, `detail` what is folded beneath, "" for nothing.
    """

    kind: str
    who: str
    text: str
    detail: str = ""


def lines_of(items: Iterable[Item]) -> list[Line]:
    """The items in their order, outputs named after their calls."""
    names: dict[Json, str] = {}
    lines: list[Line] = []
    for item in items:
        if item.get("type") in CALL_TYPES and isinstance(item.get("call_id"), str):
            names[item["call_id"]] = str(item.get("name", ""))
        lines.append(_line(item, names))
    return lines


def _line(item: Item, names: Mapping[Json, str]) -> Line:
    kind = item.get("type", "message" if "role" in item else None)
    if kind == "message":
        role = str(item.get("role", ""))
        shown = role if role in ("user", "assistant") else "note"
        text = text_of(item)
        return Line(shown, _SAYS.get(role, role), text or "(no text)", "" if text else pretty(item))
    if kind in CALL_TYPES:
        arguments = as_value(item.get("arguments", item.get("input")))
        return Line("call", "Tool call", sentence(str(item.get("name", "?")), arguments), pretty(arguments))
    if kind in OUTPUT_TYPES:
        call_id = item.get("call_id")
        name = names.get(call_id, "") if isinstance(call_id, str) else ""
        return Line("output", f"Result of {label_of(name)}" if name else "Result", pretty(item.get("output")))
    if kind == "reasoning":
        return Line("thought", "Reasoning", _summary(item) or "(not told)", pretty(item))
    return Line("other", str(kind), label_of(str(kind)), pretty(item))


def as_value(text: Json) -> Json:
    """The value of a JSON text; the text itself where it is none."""
    if not isinstance(text, str):
        return text
    try:
        return decode(text)
    except (ValueError, RecursionError):
        return text


def _summary(item: Item) -> str:
    parts = item.get("summary")
    if not isinstance(parts, list):
        return ""
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
    return "\n".join(text for text in texts if isinstance(text, str))
