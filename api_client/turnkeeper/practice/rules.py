"""What the practice model answers: rules over the request's own tools, so that any agent gets some. Pure.

In this order:

1. the input ends with tool outputs: a sentence that quotes them;
2. the newest user message names orders: one look-up call, or one refund call, for each, side by side;
3. it names a tool: a call of it with arguments made up from its schema;
4. else: an answer that repeats the message and says how many items of history came before it.

Where the request asks for structured output, 1 and 4 answer with minimal JSON for the schema instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from turnkeeper.practice import wire
from turnkeeper.practice.controls import without_controls
from turnkeeper.practice.samples import Hints, sample
from turnkeeper_storage.items import OUTPUT_TYPES, Item, Json, text_of

PREFIX = "[practice model]"
_QUOTE = 300  # characters of a message or an output that an answer repeats

_AND = r"(?:\s*,\s*and\s+|\s*,\s*|\s+and\s+|\s*&\s*)"
_ORDERS = re.compile(rf"\borders?\s+(?:number\s+|no\.?\s*)?(#?\d+(?:{_AND}#?\d+)*)", re.IGNORECASE)
_SUM = r"(\d+(?:[.,]\d\d?)?)"
_MONEY = re.compile(rf"[$€£]\s?{_SUM}|\b{_SUM}\s?(?:[$€£]|(?:eur|usd|euros?|dollars?)\b)", re.IGNORECASE)
_QUOTED = re.compile(r"\"([^\"]+)\"|“([^”]+)”|„([^“]+)“|'([^']+)'(?!\w)")
_LOOK_UP = frozenset({"status", "lookup", "look", "find", "get", "check", "track", "show", "read", "fetch"})


def plan(request: Mapping[str, Json]) -> list[Item]:
    """The output items for the body of a `POST /v1/responses`."""
    items = input_items(request)
    outputs = _trailing_outputs(items)
    if outputs:
        return [_answer(request, _quoting(items, outputs))]
    index, text = newest_message(items)
    text = without_controls(text)
    calls = _calls(request, text)
    if calls:
        return calls if request.get("parallel_tool_calls", True) else calls[:1]
    seen = f"{index} item{'' if index == 1 else 's'} of history"
    return [
        _answer(request, f'{PREFIX} I follow rules and am no AI. You said: "{_short(text)}". I saw {seen}.')
    ]


def input_items(request: Mapping[str, Json]) -> list[Item]:
    """The input as items; a text is one user message."""
    given = request.get("input")
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    return [item for item in given or [] if isinstance(item, dict)]


def newest_message(items: Sequence[Item]) -> tuple[int, str]:
    """Where the newest user message stands and its text; `(len(items), '')` without one."""
    for index in range(len(items) - 1, -1, -1):
        if items[index].get("role") == "user":
            return index, text_of(items[index])
    return len(items), ""


def _trailing_outputs(items: Sequence[Item]) -> list[Item]:
    outputs: list[Item] = []
    for item in reversed(items):
        if item.get("type") not in OUTPUT_TYPES:
            break
        outputs.append(item)
    return outputs[::-1]


def _quoting(items: Sequence[Item], outputs: Sequence[Item]) -> str:
    names = {item.get("call_id"): item.get("name") for item in items if "name" in item}
    said = [
        f'{names.get(one.get("call_id"), "a tool")} said "{_short(_output_text(one))}"' for one in outputs
    ]
    return f"{PREFIX} Here is what I found: {', and '.join(said)}."


def _output_text(item: Item) -> str:
    output = item.get("output")
    return output if isinstance(output, str) else text_of({"content": output})


def _answer(request: Mapping[str, Json], text: str) -> Item:
    asked = (request.get("text") or {}).get("format") or {}
    if asked.get("type") == "json_schema":
        return wire.message(json.dumps(sample(asked.get("schema") or {}), ensure_ascii=False))
    return wire.message(json.dumps({"answer": text}) if asked.get("type") == "json_object" else text)


def _calls(request: Mapping[str, Json], text: str) -> list[Item]:
    tools = [tool for tool in request.get("tools") or [] if tool.get("type") == "function"]
    choice = request.get("tool_choice")
    if choice == "none" or not tools:
        return []
    if isinstance(choice, Mapping):  # one tool is demanded by name
        tools = [tool for tool in tools if tool["name"] == choice.get("name")]
    found = _order_calls(tools, text) or _named_calls(tools, text)
    if not found and tools and choice not in (None, "auto"):
        return [_call(tools[0], text)]
    return found


def _order_calls(tools: Sequence[Mapping[str, Json]], text: str) -> list[Item]:
    without_sums = _MONEY.sub("", text)  # "order 7, 12.50 €" is one order
    orders = [number for match in _ORDERS.finditer(without_sums) for number in re.findall(r"\d+", match[1])]
    refund = "refund" in text.lower()
    for tool in tools:
        words = set(tool["name"].lower().split("_"))
        fits = "refund" in tool["name"].lower() if refund else bool(words & _LOOK_UP)
        if orders and fits and "order_id" in _properties(tool):
            return [_call(tool, text, order_id=order) for order in dict.fromkeys(orders)]
    return []


def _named_calls(tools: Sequence[Mapping[str, Json]], text: str) -> list[Item]:
    lowered = text.lower()
    names = ((tool, tool["name"].lower()) for tool in tools)
    return [_call(tool, text) for tool, name in names if name in lowered or name.replace("_", " ") in lowered]


def _call(tool: Mapping[str, Json], text: str, **named: Json) -> Item:
    money = _MONEY.search(text)
    if money:
        named["amount"] = (money[1] or money[2]).replace(",", ".")
    elif "amount" in _properties(tool):
        named["amount"] = 10
    hints = Hints(
        named={name: value for name, value in named.items() if name in _properties(tool)},
        texts=["".join(match.groups("")) for match in _QUOTED.finditer(text)],
    )
    return wire.function_call(tool["name"], sample(tool.get("parameters") or {}, hints) or {})


def _properties(tool: Mapping[str, Json]) -> Mapping[str, Json]:
    return (tool.get("parameters") or {}).get("properties") or {}


def _short(text: str) -> str:
    return text if len(text) <= _QUOTE else text[: _QUOTE - 1] + "…"
