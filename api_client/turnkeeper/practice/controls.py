"""Control words: what a user message may ask the practice model to get wrong. Pure.

    !error 429      answers with that HTTP status          !slow 3    answers after 3 seconds
    !cut            breaks off before the end

Each counts for every call that sees the message; with `once` behind it (`!error 500 once`) for the first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_WORD = re.compile(
    r"!(?:(?P<kind>error|slow)\s+(?P<value>\d+(?:\.\d+)?)|(?P<bare>cut)\b)(?P<once>\s+once\b)?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Control:
    """`value`: the HTTP status of an error (400 to 599), the seconds of a slow answer, 0 for a cut."""

    kind: Literal["error", "slow", "cut"]
    value: float = 0.0
    once: bool = False


def find_controls(text: str) -> list[Control]:
    """The control words of a message, in order; an error status that is none is left out."""
    found = (_control(match) for match in _WORD.finditer(text))
    return [control for control in found if control is not None]


def without_controls(text: str) -> str:
    """The message as the rules see it."""
    return " ".join(_WORD.sub(" ", text).split())


def _control(match: re.Match[str]) -> Control | None:
    once = match["once"] is not None
    if match["bare"]:
        return Control("cut", once=once)
    value = float(match["value"])
    if match["kind"].lower() == "slow":
        return Control("slow", value, once)
    return Control("error", value, once) if 400 <= value <= 599 else None
