"""The folder `.turnkeeper`: whose it is at present, and what other commands find in it."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from turnkeeper_storage.errors import ConfigurationError, Conflict

# no such locks on Windows: two at once are not noticed there
if sys.platform != "win32":
    import fcntl

FOLDER = ".turnkeeper"
URLS_FILE = "dev.json"
SHELL_FILE = "dev.env"
LOCK_FILE = "dev.lock"
# where commands look first; one that is set means that somebody knows better
VARIABLES = ("TURNKEEPER_DATABASE_URL", "TURNKEEPER_BROKER_URL", "TURNKEEPER_REDIS_URL")
# a command that looks whether the lock is held has it for an instant
LOCK_SECONDS = 0.5


class AlreadyRunning(Conflict):
    """Another `turnkeeper dev` has this folder."""


@dataclass(frozen=True, slots=True)
class DevUrls:
    """Where the servers of a running `turnkeeper dev` are. The broker's URL holds a password."""

    database_url: str
    broker_url: str


@dataclass(frozen=True, slots=True)
class Place:
    """The folder, held by this process."""

    folder: Path

    def tell(self, urls: DevUrls) -> None:
        """Write down where the servers are, for commands (`dev.json`) and shells (`dev.env`); owner only."""
        _write(self.folder / URLS_FILE, json.dumps(asdict(urls), indent=2) + "\n")
        named = zip(VARIABLES, (urls.database_url, urls.broker_url), strict=False)
        _write(
            self.folder / SHELL_FILE, "".join(f"export {name}={shlex.quote(url)}\n" for name, url in named)
        )

    def forget(self) -> None:
        """The servers are gone."""
        for name in (URLS_FILE, SHELL_FILE):
            (self.folder / name).unlink(missing_ok=True)


@contextlib.contextmanager
def claim_place(root: Path) -> Iterator[Place]:
    """Hold `root/.turnkeeper` for the block. Raises AlreadyRunning, ConfigurationError."""
    folder = (root / FOLDER).resolve()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
        lock = (folder / LOCK_FILE).open("a+")
    except OSError as error:
        raise ConfigurationError(
            f"{FOLDER}: cannot be written here ({type(error).__name__}); run this in a folder of your own"
        ) from error
    with lock:
        _take(lock)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        place = Place(folder)
        try:
            yield place
        finally:
            place.forget()


def find_dev(root: Path | None = None) -> DevUrls | None:
    """The servers of the `turnkeeper dev` that runs in this folder.

    None when there is none, and when the environment names a server.
    """
    if any(os.environ.get(name) for name in VARIABLES):
        return None
    folder = (root or Path()) / FOLDER
    try:
        found = json.loads((folder / URLS_FILE).read_text())
        urls = DevUrls(str(found["database_url"]), str(found["broker_url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return urls if _is_held(folder / LOCK_FILE) else None


def _take(lock: IO[str]) -> None:
    limit = time.monotonic() + LOCK_SECONDS
    while not _locked(lock):
        if time.monotonic() > limit:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            raise AlreadyRunning(
                f"another `turnkeeper dev` (pid {pid}) runs in this folder; stop it first, "
                "or start this one in another folder"
            )
        time.sleep(0.02)


def _locked(lock: IO[str]) -> bool:
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_held(path: Path) -> bool:
    if sys.platform == "win32":
        return True
    try:
        with path.open() as lock:
            return not _locked(lock)
    except OSError:
        return False


def _write(path: Path, text: str) -> None:
    # never readable by others, not even for an instant, and never half written
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)
