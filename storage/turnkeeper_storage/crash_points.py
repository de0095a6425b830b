"""Named places where a test can kill, stop or cut a process. In production nothing happens at them.

A transaction has two: `claim.committing` stands before its commit, with everything written, and
`claim.committed` after it, before anybody here knows the answer. The names of the transactions, and the other
places, are in POINTS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Hook: TypeAlias = Callable[[str], None]

VERBS = (
    "cancel",
    "checkpoint",
    "claim",
    "decide",
    "edit",
    "enqueue",
    "expire",
    "finish",
    "heartbeat",
    "intend",
    "park",
    "release",
    "restart",
    "settle_call",
    "start_call",
    "store_input",
    "sweep",
)
PLACES = (
    # what a bell tells is committed, and it is about to be published
    "bell.ringing",
    # the model has answered, and nothing of it is stored
    "model.answered",
    # right before a tool's function is called, and right after it returned
    "tool.calling",
    "tool.returned",
    # around the write to a store outside the database
    "outside.adding",
    "outside.added",
)
POINTS = frozenset(PLACES) | {f"{verb}.{when}" for verb in VERBS for when in ("committing", "committed")}

_hooks: list[Hook] = []


def install(hook: Hook | None) -> None:
    """Call this at every point, with its name, on whatever thread gets there; None takes it away."""
    _hooks[:] = [] if hook is None else [hook]


def reach(name: str) -> None:
    """This process is at the point `name`."""
    for hook in _hooks:
        hook(name)
