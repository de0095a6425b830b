"""The user's hook on what a run is about to store: annotate items, redact them, leave some out."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TypeAlias

from turnkeeper_storage.errors import InvalidInput, RunFailure
from turnkeeper_storage.items import Item, Json, as_item, encode
from turnkeeper_storage.model import Run


@dataclass(frozen=True, slots=True)
class PersistContext:
    """Whose items are about to be stored. `turn` is 0 for the run's input; `metadata` are the run's own."""

    run_id: str
    session_id: str
    tenant: str
    agent: str
    turn: int
    metadata: Mapping[str, Json] = field(default_factory=dict)


BeforePersist: TypeAlias = Callable[[list[Item], PersistContext], list[Item] | Awaitable[list[Item]]]


async def persisted(
    hook: BeforePersist, run: Run, items: Sequence[Item], turns: Sequence[int]
) -> tuple[list[Item], list[int]]:
    """What of these items is stored, and the turns that each is of. The hook is called once for each turn.

    It is given copies, so what the model sees is not changed. Raises RunFailure `before_persist_failed` when
    it raises, `invalid_before_persist_result` when it returns anything but a list of items.
    """
    kept: list[Item] = []
    of_turns: list[int] = []
    pairs = zip(turns, items, strict=True)
    for turn, group in groupby(pairs, key=lambda pair: pair[0]):
        context = PersistContext(run.id, run.session_id, run.tenant, run.agent, turn, run.options.metadata)
        given = copy.deepcopy([item for _, item in group])
        result = _checked(await _called(hook, given, context))
        kept += result
        of_turns += [turn] * len(result)
    return kept, of_turns


async def _called(hook: BeforePersist, items: list[Item], context: PersistContext) -> object:
    try:
        result = hook(items, context)
        return await result if inspect.isawaitable(result) else result
    except Exception as error:
        # Its text may quote an item: the type is what may be told.
        raise RunFailure(
            "before_persist_failed",
            f"before_persist raised {type(error).__name__}; it must return a list of items",
        ) from error


def _checked(result: object) -> list[Item]:
    if not isinstance(result, list):
        raise RunFailure(
            "invalid_before_persist_result",
            f"before_persist returned {type(result).__name__}; it must return a list of items",
        )
    try:
        items = [as_item(item, field=f"before_persist result[{index}]") for index, item in enumerate(result)]
        encode(items, field="before_persist result")
    except InvalidInput as error:
        raise RunFailure("invalid_before_persist_result", str(error)) from None
    return items
