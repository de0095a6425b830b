"""Changes of the code: Python files under some folders."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from turnkeeper_storage.errors import ConfigurationError

DEBOUNCE_MS = 300
# beyond what watchfiles leaves out by itself
NOT_CODE = ("venv", "env", ".turnkeeper", ".eggs")


class NoWatcher(ConfigurationError):
    """There is nothing that watches files."""


def check_watcher() -> None:
    """Raises NoWatcher when what it takes is not installed."""
    try:
        import watchfiles  # noqa: F401
    except ImportError:
        raise NoWatcher("watchfiles is not installed; pip install 'turnkeeper[dev]'") from None


async def changes(folders: Sequence[Path], stop: asyncio.Event) -> AsyncIterator[list[Path]]:
    """The files that changed, each time that some did, until `stop`. Raises OSError when watching fails."""
    from watchfiles import PythonFilter, awatch

    watched = PythonFilter(ignore_paths=[sys.prefix])
    watched.ignore_dirs = (*watched.ignore_dirs, *NOT_CODE)
    async for batch in awatch(
        *folders, watch_filter=watched, stop_event=stop, debounce=DEBOUNCE_MS, step=50, rust_timeout=1_000
    ):
        yield sorted({Path(path) for _, path in batch})
