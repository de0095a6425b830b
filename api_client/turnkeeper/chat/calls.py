"""The tool calls of a run while it works: they stand in the database before the history has them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from turnkeeper_client.portal import Portal
from turnkeeper_storage import ids
from turnkeeper_storage.database import Database
from turnkeeper_storage.model import ToolCall
from turnkeeper_storage.repositories import turns
from turnkeeper_storage.settings import Settings

CLOSE_SECONDS = 5.0


@dataclass(slots=True)
class _Open:
    portal: Portal
    database: Database


class Calls:
    """Reads the calls of runs; connects when it is asked first."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open: _Open | None = None

    def of(self, run_id: str) -> list[ToolCall]:
        """The run's calls in order, with the outputs that there are. Raises DatabaseUnavailable."""
        if self._open is None:
            self._open = _Open(
                Portal(), Database(self._settings.database_url, schema=self._settings.db_schema)
            )
        look = partial(turns.list_calls, key=ids.key_of(run_id), run_id=run_id)
        return self._open.portal.run(self._open.database.read(look))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            try:
                opened.portal.run(opened.database.aclose(), CLOSE_SECONDS)
            finally:
                opened.portal.close()
