"""What a boundary of a run adds to the history: all that it made and is not stored yet. Pure.

The history of a run is its input, then of each turn its items, the outputs of its calls and what was added
to it. A run that parks stores all up to its last turn's items; the rest follows at its next boundary.
"""

from __future__ import annotations

from collections.abc import Sequence

from turnkeeper_storage.items import Item
from turnkeeper_storage.model import Merged, ToolCall, Turn
from turnkeeper_worker.history import Entry
from turnkeeper_worker.steps import after_calls


def entry_at_park(
    merged: Merged | None, turns: Sequence[Turn], calls: Sequence[ToolCall], *, stored_turn: int | None
) -> Entry:
    """What a run adds that parks in its last turn: up to that turn's items, none of its outputs.

    `merged` is None when the input is stored; `stored_turn` is the turn up to whose items all is stored, None
    when it never parked.
    """
    if stored_turn == turns[-1].turn:
        return Entry([], [])
    before = _made(turns[:-1], calls, stored_turn)
    return _entry(merged, [*before, (turns[-1].turn, turns[-1].items)], stored_turn)


def entry_at_end(
    merged: Merged | None, turns: Sequence[Turn], calls: Sequence[ToolCall], *, stored_turn: int | None
) -> Entry:
    """What a run adds that ends; its calls are settled or closed. Nothing when it has no turn."""
    if not turns:
        return Entry([], [])
    return _entry(merged, _made(turns, calls, stored_turn), stored_turn)


def _made(
    turns: Sequence[Turn], calls: Sequence[ToolCall], stored_turn: int | None
) -> list[tuple[int, list[Item]]]:
    """By turn, what is not stored of these turns."""
    stored = stored_turn or 0
    made: list[tuple[int, list[Item]]] = []
    for turn in turns:
        if turn.turn > stored:
            made.append((turn.turn, turn.items))
        if turn.turn >= stored:
            made.append((turn.turn, after_calls(turn, calls)))
    return made


def _entry(merged: Merged | None, made: Sequence[tuple[int, list[Item]]], stored_turn: int | None) -> Entry:
    # what parked brought its input along
    brought = list(merged.stored_input) if merged is not None and stored_turn is None else []
    parts = [(0, brought), *made]
    return Entry(
        [item for _, items in parts for item in items], [turn for turn, items in parts for _ in items]
    )
