"""A session class of your own: a conversation in a file of JSON lines.

Five names make a session: `session_id` and four coroutines. Whatever has them can be given to an agent.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from turnkeeper_storage import Item, SessionSettings, checked_items


class FileSession:
    """One file per session. Writes replace the whole file, so a reader never sees half of one."""

    def __init__(
        self, session_id: str, folder: Path, session_settings: SessionSettings | None = None
    ) -> None:
        self.session_id = session_id
        self.session_settings = session_settings
        self._path = folder / f"{quote(session_id, safe='')}.jsonl"
        self._turn = asyncio.Lock()

    async def get_items(self, limit: int | None = None) -> list[Item]:
        if limit is None and self.session_settings is not None:
            limit = self.session_settings.limit
        items = await asyncio.to_thread(self._read)
        return items if limit is None else items[max(0, len(items) - max(0, limit)) :]

    async def add_items(self, items: list[Item]) -> None:
        new = checked_items(items)
        await self._whole(lambda old: old + new)

    async def pop_item(self) -> Item | None:
        old = await self._whole(lambda old: old[:-1])
        return old[-1] if old else None

    async def clear_session(self) -> None:
        await self._whole(lambda old: [])

    async def _whole(self, change: Callable[[list[Item]], list[Item]]) -> list[Item]:
        # Shielded: a caller that is cancelled cannot tear a change that has begun.
        return await asyncio.shield(asyncio.ensure_future(self._change(change)))

    async def _change(self, change: Callable[[list[Item]], list[Item]]) -> list[Item]:
        async with self._turn:
            old = await asyncio.to_thread(self._read)
            new = change(old)
            if new != old:
                await asyncio.to_thread(self._write, new)
            return old

    def _read(self) -> list[Item]:
        if not self._path.exists():
            return []
        return [json.loads(line) for line in self._path.read_text().splitlines()]

    def _write(self, items: list[Item]) -> None:
        with tempfile.NamedTemporaryFile("w", dir=self._path.parent, delete=False) as new:
            new.writelines(json.dumps(item) + "\n" for item in items)
        Path(new.name).replace(self._path)
