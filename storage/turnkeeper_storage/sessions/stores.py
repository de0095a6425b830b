"""Which store a session's items live in, and whether what was opened for it is the right one. Pure."""

from __future__ import annotations

from enum import Enum

# The store whose items this package keeps by itself.
DATABASE = "database"
CONVERSATIONS = "conversations"
# of a session in which nothing was written yet
UNKNOWN = ""


class StoreChange(Enum):
    """What opening a session in a store means for the name that its row has."""

    SAME = "same"
    NAMED = "named"
    WRAPPED = "wrapped"
    MISMATCH = "mismatch"


def store_change(stored: str, opened: str) -> StoreChange:
    """Compare the name in the session's row with that of the session object at hand (see `store_name`).

    NAMED: nothing was written yet, and the first write gives the name. WRAPPED: the same store, from now on
    within a wrapper (`database`, then `database+encrypted`); the way back would show a reader sealed items.
    """
    if stored == opened:
        return StoreChange.SAME
    if stored == UNKNOWN:
        return StoreChange.NAMED
    return StoreChange.WRAPPED if opened.startswith(f"{stored}+") else StoreChange.MISMATCH
