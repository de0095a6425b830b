"""Runs whose input says what the model asks for: `look,pay|refund` is two turns of calls, then an answer.

async with ScriptedModel(answer=follow_plan) as model:
    await client.enqueue("s", plan("look", "pay"), agent="support")
"""

from __future__ import annotations

from tests.fakes import replies
from tests.fakes.replies import Reply
from turnkeeper.practice.rules import input_items
from turnkeeper_storage.items import Item, Json, text_of


def plan(*turns: str, name: str = "") -> str:
    """The text of an input: each turn is names of tools with commas between; `name` tells runs apart."""
    return f"{name}:" + "|".join(turns)


def turns_of(text: str) -> list[list[str]]:
    """The calls of each turn, without the answer at the end."""
    _, _, turns = text.partition(":")
    return [turn.split(",") for turn in turns.split("|") if turn]


def answer_of(text: str) -> str:
    """What the model says at the end of a plan."""
    return f"done {text}"


def follow_plan(body: dict[str, Json]) -> Reply:
    """The next turn of the newest plan in a request. Call ids are new in each answer."""
    items = input_items(body)
    start = max(index for index, item in enumerate(items) if item.get("role") == "user")
    text = text_of(items[start])
    turns, done = turns_of(text), _turns_done(items[start:])
    if done < len(turns):
        return replies.calls(*((name, {}) for name in turns[done]))
    return replies.text(answer_of(text))


def _turns_done(items: list[Item]) -> int:
    """How many groups of calls stand one after the other, with their outputs between."""
    kinds = ["call" if item.get("type") == "function_call" else "other" for item in items]
    return sum(
        1
        for before, kind in zip(["other", *kinds], kinds, strict=False)
        if (before, kind) == ("other", "call")
    )


def told(text: str) -> list[str]:
    """The history that a completed plan leaves, in the words of `tests.fakes.worker.texts`."""
    lines = [text]
    for names in turns_of(text):
        lines += [f"{name}({{}})" for name in names] + [f"= {name} done" for name in names]
    return [*lines, answer_of(text)]
