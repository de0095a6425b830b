"""What the Conversations API makes of items: which it refuses, and the form that it keeps. Pure.

Only kinds that the tests use are known; the rules are those that users of the API report.
"""

from __future__ import annotations

import copy
from collections.abc import Set

from turnkeeper_storage.items import Item, Json

MAX_ITEMS = 20
_CALL = frozenset({"type", "id", "status", "call_id", "name", "arguments", "namespace", "caller"})
_OUTPUT = frozenset({"type", "id", "status", "call_id", "output", "caller"})
_FIELDS: dict[str, Set[str]] = {
    "message": frozenset({"type", "id", "status", "role", "content", "phase"}),
    "function_call": _CALL,
    "function_call_output": _OUTPUT,
    "custom_tool_call": (_CALL - {"arguments"}) | {"input"},
    "custom_tool_call_output": _OUTPUT,
    "reasoning": frozenset({"type", "id", "summary", "content", "encrypted_content", "status"}),
    "file_search_call": frozenset({"type", "id", "status", "queries", "results"}),
}
_PREFIX = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
}


class Refusal(Exception):
    """HTTP 400: OpenAI's words for it."""

    def __init__(self, message: str, code: str | None, param: str | None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param


def check(items: Json) -> None:
    """Raise Refusal for what the API does not take."""
    if not isinstance(items, list):
        raise Refusal("Missing required parameter: 'items'.", "missing_required_parameter", "items")
    if len(items) > MAX_ITEMS:
        raise Refusal(f"Invalid 'items': {len(items)} are over 20.", "array_above_max_length", "items")
    for index, item in enumerate(items):
        _check(item, f"items[{index}]")


def _check(item: Json, place: str) -> None:
    kind = item.get("type", "message")
    if kind not in _FIELDS:
        raise Refusal(f"Invalid value: '{kind}'.", "invalid_value", f"{place}.type")
    for name in item:
        if name not in _FIELDS[kind]:
            raise Refusal(f"Unknown parameter: '{place}.{name}'.", "unknown_parameter", f"{place}.{name}")
    given = item.get("id")
    if given is not None and kind in _PREFIX and not str(given).startswith(f"{_PREFIX[kind]}_"):
        raise Refusal(f"Invalid '{place}.id': '{given}'.", "invalid_value", f"{place}.id")
    if kind == "reasoning" and not (given or item.get("encrypted_content")):
        raise Refusal("Invalid item", "invalid_item", "item")
    if kind == "file_search_call" and not given:
        raise Refusal(f"Missing '{place}.id'.", "missing_required_parameter", f"{place}.id")
    for name in {"role", "content"} if kind == "message" else {"call_id"} if "call" in kind else ():
        if name not in item and kind != "file_search_call":
            raise Refusal(f"Missing '{place}.{name}'.", "missing_required_parameter", f"{place}.{name}")


def kept(item: Item, number: int) -> Item:
    """The item as the API keeps it."""
    form = copy.deepcopy(item)
    kind = form.setdefault("type", "message")
    if kind == "reasoning":
        return {"id": f"rs_{number:08}", "status": None, "content": [], **form}
    if kind not in _PREFIX:
        return form
    if kind == "message":
        form["content"] = _parts(form["role"], form["content"])
        form.setdefault("phase", None)
    # it numbers them anew
    return {**form, "id": f"{_PREFIX[kind]}_{number:08}", "status": form.get("status") or "completed"}


def _parts(role: str, content: Json) -> list[Json]:
    if role == "assistant":
        plain = {"type": "output_text", "annotations": [], "logprobs": []}
    else:
        plain = {"type": "input_text"}
    if isinstance(content, str):
        return [{**plain, "text": content}]
    return [{**plain, **part} if part.get("type") == plain["type"] else part for part in content]


def listed(item: Item, include: Set[str]) -> Item:
    """The item as a list shows it: some of it only when asked for."""
    shown = copy.deepcopy(item)
    if item["type"] == "reasoning" and "reasoning.encrypted_content" not in include:
        shown.pop("encrypted_content", None)
    if item["type"] == "message" and "message.input_image.image_url" not in include:
        for part in shown["content"]:
            part.pop("image_url", None)
    return shown
