"""What the audit of edits holds: who did what to a session, and when, without contents. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from turnkeeper_storage.ids import check_session_id


class EditAction(StrEnum):
    """What was done to a session from outside of its runs."""

    ADD = "add"
    POP = "pop"
    CLEAR = "clear"
    REPAIR = "repair"
    IMPORT = "import"
    UPDATE = "update"
    DELETE = "delete"
    EXPIRE = "expire"


# An erasure stands in the audit as a deletion of no session, so that the erased one is named nowhere; it is
# no action of its own, which an older release would not know.
NO_SESSION = ""
ERASED = "erased"


@dataclass(frozen=True, slots=True)
class Edit:
    """An edit about to be made. `by`: who says so, None when nobody said.

    `items`: how many it adds or removes, None when that is not known before. `fields`: what an update sets.
    """

    action: EditAction
    by: str | None = None
    items: int | None = None
    fields: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SessionEdit:
    """An edit as it was noted, in the transaction that made it or, for a store outside, before it."""

    id: str
    tenant: str
    session_id: str
    action: EditAction
    by: str | None
    items: int | None
    fields: tuple[str, ...]
    created_at: datetime

    @property
    def is_erasure(self) -> bool:
        """Whether this tells that a session was erased, which it does not name."""
        return self.session_id == NO_SESSION and ERASED in self.fields


def erasure(by: str | None) -> Edit:
    """What the audit keeps of an erasure: that there was one, when, and who did it."""
    return Edit(EditAction.DELETE, by, fields=(ERASED,))


def check_by(by: str | None) -> str | None:
    """Who edits: None, or 1 to 255 printable characters. Raises InvalidInput."""
    return None if by is None else check_session_id(by, field="by")
