"""Sessions that are kept no longer: each sweep looks at some, and deletes those whose time is over."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from turnkeeper_storage.database import Database
from turnkeeper_storage.deleting import delete_if_over
from turnkeeper_storage.errors import TurnkeeperError
from turnkeeper_storage.repositories import session_rows
from turnkeeper_storage.repositories.session_rows import Kept
from turnkeeper_storage.session_edits import Edit, EditAction
from turnkeeper_storage.sessions.protocol import Session
from turnkeeper_worker.audit_retention import AuditRetention

# sessions of one look
PAGE = 200
EDIT = Edit(EditAction.EXPIRE, "retention")
log = logging.getLogger(__name__)


class Retention:
    """Walks over all sessions, a page at a time, while the worker lives. `default` is the setting.

    With `audit_seconds` it walks over the audit of edits as well, and removes what is older.
    """

    def __init__(
        self,
        database: Database,
        open_session: Callable[[str, str], Session],
        owner: str,
        default: float | None,
        page: int = PAGE,
        *,
        audit_seconds: float | None = None,
    ) -> None:
        self._database = database
        self._open_session = open_session
        self._owner = owner
        self._default = default
        self._page = page
        self._audit = None if audit_seconds is None else AuditRetention(database, audit_seconds)
        self._after = ""

    async def sweep(self) -> int:
        """Look at the next page; how many sessions were deleted. Raises DatabaseUnavailable."""
        look = partial(session_rows.page, after_key=self._after, default=self._default, limit=self._page)
        found = await self._database.read(look)
        count = 0
        for kept in found:
            if kept.is_over and await self._delete(kept):
                count += 1
        self._after = found[-1].session_key if len(found) == self._page else ""
        if self._audit is not None:
            await self._audit.sweep()
        return count

    async def _delete(self, kept: Kept) -> bool:
        try:
            session = self._open_session(kept.tenant, kept.id)
            return await delete_if_over(
                self._database, kept.session_key, session, EDIT, owner=self._owner, default=self._default
            )
        except TurnkeeperError as error:
            # of a store that this worker cannot open, or that is away: the next round tries again
            log.warning("session %s is not deleted (%s)", kept.session_key, type(error).__name__)
        except Exception as error:  # noqa: BLE001 - of a user's own factory: its text may quote anything
            log.warning("session %s is not deleted (%s)", kept.session_key, type(error).__name__)
        return False
