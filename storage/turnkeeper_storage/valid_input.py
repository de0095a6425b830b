"""What a model accepts as input, out of what a history may hold. Pure.

A call stands before exactly one output of its id and kind; a reasoning item stands directly before what it
produced. What breaks this is left out of the model's input, never out of the store.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from turnkeeper_storage.input_items import clean
from turnkeeper_storage.items import Item

# Every kind of call that some party answers with an item of its own.
OUTPUT_OF: Mapping[str, str] = {
    "apply_patch_call": "apply_patch_call_output",
    "computer_call": "computer_call_output",
    "custom_tool_call": "custom_tool_call_output",
    "function_call": "function_call_output",
    "local_shell_call": "local_shell_call_output",
    "mcp_approval_request": "mcp_approval_response",
    "shell_call": "shell_call_output",
}
OUTPUTS = frozenset(OUTPUT_OF.values())
# where those keep the id of the call that do not call it so
_ID_FIELDS = {"mcp_approval_request": "id", "mcp_approval_response": "approval_request_id"}
_NOT_PRODUCED = frozenset({"reasoning", "compaction_trigger", "item_reference"})


def make_valid(items: Sequence[Item]) -> list[Item]:
    """The items that a model accepts, cleaned, in their order. The given items are not changed.

    Doing it twice changes nothing more.
    """
    kept = paired(items)
    kept -= lonely_reasoning(items, kept)
    last = len(items) - 1
    return [
        clean(item)
        for index, item in enumerate(items)
        if index in kept and (item.get("type") != "compaction_trigger" or index == last)
    ]


def window(items: Sequence[Item], limit: int | None) -> list[Item]:
    """The newest `limit` items (None: all), fewer where the cut would tear a pair apart.

    An output whose call is older than the cut is left out, and so is what a reasoning item older than the cut
    produced.
    """
    if limit is None or limit >= len(items):
        return list(items)
    start = len(items) - max(limit, 0)
    if _follows_reasoning(items, start):
        # so does all that the same answer goes on with: to look back again for each would be quadratic
        while start < len(items) and _is_produced(items[start]):
            start += 1
    whole, after = paired(items), paired(items[start:])
    return [
        items[index]
        for index in range(start, len(items))
        if items[index].get("type") not in OUTPUTS or index not in whole or index - start in after
    ]


def cut_is_clear(items: Sequence[Item], start: int) -> bool:
    """Whether `window` would cut at `start` just so if there were more items before these."""
    if start >= len(items) or not _is_produced(items[start]):
        return True
    before = start
    while before > 0 and _is_produced(items[before - 1]):
        before -= 1
    return before > 0


def call_id(item: Item) -> str | None:
    """The id that ties a call to its output; None for what is neither, or has none."""
    kind = str(item.get("type"))
    if kind not in OUTPUT_OF and kind not in OUTPUTS:
        return None
    found = item.get(_ID_FIELDS.get(kind, "call_id"))
    return found if isinstance(found, str) else None


def paired(items: Sequence[Item], open_calls: Collection[str] = ()) -> set[int]:
    """The places of all items but of calls and outputs that have no partner.

    `open_calls`: the ids of calls whose outputs are still to come, and which so lack none.
    """
    kept: set[int] = set()
    # Ids may come again in a long history (small model servers count from 0 in each answer): the newest
    # open call of an id is the one that an output answers.
    waiting: dict[tuple[str, str], int] = {}
    for index, item in enumerate(items):
        kind = str(item.get("type"))
        if kind not in OUTPUT_OF and kind not in OUTPUTS:
            kept.add(index)
            continue
        tie = call_id(item)
        if tie is None:
            continue
        if kind in OUTPUT_OF:
            waiting[OUTPUT_OF[kind], tie] = index
        elif (kind, tie) in waiting:
            kept |= {waiting.pop((kind, tie)), index}
    return kept | {index for (_, tie), index in waiting.items() if tie in open_calls}


def lonely_reasoning(items: Sequence[Item], kept: set[int]) -> set[int]:
    """The places of reasoning items of which nothing that they produced is kept."""
    lonely: set[int] = set()
    group: list[int] = []
    produced = survived = False
    for index, item in enumerate(items):
        if item.get("type") == "reasoning":
            if produced:  # the group before is complete
                lonely |= set() if survived else set(group)
                group, produced, survived = [], False, False
            group.append(index)
        elif group and _is_produced(item):
            produced = True
            survived = survived or index in kept
        elif group:
            lonely |= set() if survived else set(group)
            group, produced, survived = [], False, False
    return lonely if survived else lonely | set(group)


def _is_produced(item: Item) -> bool:
    """Whether a model made this item: not an output, nor a message of anybody else."""
    kind = item.get("type")
    if kind in (None, "message"):
        return item.get("role") == "assistant"
    return kind not in OUTPUTS and kind not in _NOT_PRODUCED


def _follows_reasoning(items: Sequence[Item], start: int) -> bool:
    if start >= len(items) or not _is_produced(items[start]):
        return False
    before = start
    while before > 0 and _is_produced(items[before - 1]):
        before -= 1
    return before > 0 and items[before - 1].get("type") == "reasoning"
