"""Edits in the audit that are kept no longer: each sweep looks at some, and removes what is over."""

from __future__ import annotations

import logging
from functools import partial

from turnkeeper_storage.database import Database
from turnkeeper_storage.repositories import session_edits

# edits of one look
PAGE = 500
START = ("", "")
log = logging.getLogger(__name__)


class AuditRetention:
    """Walks over the audit, a page at a time, while the worker lives. `seconds`: how long an edit is kept."""

    def __init__(self, database: Database, seconds: float, page: int = PAGE) -> None:
        self._database = database
        self._seconds = seconds
        self._page = page
        self._after = START

    async def sweep(self) -> int:
        """Look at the next page; how many edits were removed. Raises DatabaseUnavailable."""
        look = partial(session_edits.page, after_place=self._after, seconds=self._seconds, limit=self._page)
        found = await self._database.read(look)
        over = [one for one in found if one.is_over]
        if over:
            await self._database.transact(partial(session_edits.remove, found=over))
            log.info("removed %d edits of the audit: kept no longer", len(over))
        self._after = (found[-1].session_key, found[-1].id) if len(found) == self._page else START
        return len(over)
