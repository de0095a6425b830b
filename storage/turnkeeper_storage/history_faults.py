"""What is broken in a stored history, and what removing would mend it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from turnkeeper_storage.items import Item, Json
from turnkeeper_storage.valid_input import OUTPUT_OF, call_id, lonely_reasoning, paired


class FaultKind(StrEnum):
    """Why an item never reaches a model."""

    UNREADABLE = "unreadable"
    CALL_WITHOUT_OUTPUT = "call_without_output"
    OUTPUT_WITHOUT_CALL = "output_without_call"
    REASONING_WITHOUT_ITEM = "reasoning_without_item"
    MISPLACED_TRIGGER = "misplaced_trigger"


@dataclass(frozen=True, slots=True)
class HistoryFault:
    """An item that breaks the history. `place` counts from 0, the oldest, unreadable ones included.

    `item_type` and `item_id` (a call's, else the item's own) are None where there are none.
    """

    place: int
    kind: FaultKind
    item_type: str | None = None
    item_id: str | None = None

    def as_json(self) -> dict[str, Json]:
        return {"place": self.place, "kind": self.kind, "type": self.item_type, "item_id": self.item_id}


def find_faults(items: Sequence[Item | None], open_calls: Collection[str] = ()) -> tuple[HistoryFault, ...]:
    """The items that a model's input leaves out, and those that cannot be read (None), in their order.

    Removing them all leaves a history without faults. `open_calls`: the ids of the calls of a run that is
    not through yet; they are not broken.
    """
    readable = [(place, item) for place, item in enumerate(items) if item is not None]
    history = [item for _, item in readable]
    last = len(history) - 1
    kept = paired(history, open_calls)
    lonely = lonely_reasoning(history, kept)
    faults = [HistoryFault(place, FaultKind.UNREADABLE) for place, item in enumerate(items) if item is None]
    for index, (place, item) in enumerate(readable):
        kind = _kind(item, is_kept=index in kept, is_lonely=index in lonely, is_last=index == last)
        if kind is not None:
            name = call_id(item) or _text(item.get("id"))
            faults.append(HistoryFault(place, kind, _text(item.get("type")), name))
    return tuple(sorted(faults, key=lambda fault: fault.place))


def _kind(item: Item, *, is_kept: bool, is_lonely: bool, is_last: bool) -> FaultKind | None:
    if not is_kept:
        is_call = item.get("type") in OUTPUT_OF
        return FaultKind.CALL_WITHOUT_OUTPUT if is_call else FaultKind.OUTPUT_WITHOUT_CALL
    if is_lonely:
        return FaultKind.REASONING_WITHOUT_ITEM
    if item.get("type") == "compaction_trigger" and not is_last:
        return FaultKind.MISPLACED_TRIGGER
    return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
