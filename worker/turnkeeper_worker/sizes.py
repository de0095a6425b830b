"""How large a run may get. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from turnkeeper_storage.errors import InvalidInput, RunFailure
from turnkeeper_storage.items import Item, encode
from turnkeeper_storage.model import Merged, ToolCall, Turn


def check_answer(items: Sequence[Item], limit: int) -> int:
    """The bytes of an answer's JSON. Raises RunFailure `output_too_large`, `runner_failed`."""
    try:
        size = len(encode(list(items)).encode())
    except InvalidInput as error:  # of a runner or model class of the user's own
        raise RunFailure("runner_failed", f"the runner's answer {error.value}; {error.remedy}") from error
    if size > limit:
        raise RunFailure(
            "output_too_large",
            f"the model's answer has {size:,} bytes, the limit is {limit:,}; "
            "raise TURNKEEPER_MAX_OUTPUT_BYTES or ask for less",
        )
    return size


class StateSize:
    """How large the stored state of a run in work is: the bytes of its merged input, turns and outputs.

    What is part of it never changes, so each part is measured once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._input: int | None = None
        self._turns: dict[int, int] = {}
        self._outputs: dict[str, int] = {}

    def check(self, merged: Merged, turns: Sequence[Turn], calls: Sequence[ToolCall]) -> None:
        """To be called before they are written. Raises RunFailure `state_too_large`."""
        if self._input is None:
            self._input = _bytes(merged.model_input)
        for turn in turns:
            if turn.turn not in self._turns:
                self._turns[turn.turn] = _bytes([*turn.items, *turn.added])
        for call in calls:
            if call.is_settled and call.call_id not in self._outputs:
                self._outputs[call.call_id] = len((call.output or "").encode())
        made = sum(self._turns.values()) + sum(self._outputs.values())
        if self._input + made > self._limit:
            raise RunFailure(
                "state_too_large",
                f"the run's input has {self._input:,} bytes and its turns {made:,}, the limit is "
                f"{self._limit:,}; use a window, let tools return less, or raise TURNKEEPER_MAX_STATE_BYTES",
            )


def _bytes(items: Sequence[Item]) -> int:
    return len(encode(list(items)).encode())
