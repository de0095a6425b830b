"""A PgBouncer of a test's own before the PostgreSQL of the tests: Debian's program.

    with pgbouncer(server_url, default_pool_size="2") as pooler:
        Database(pooler.url(database_url))

TURNKEEPER_TEST_PGBOUNCER names another program than the one of the machine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.engine import make_url

from tests.fakes.tls_servers import free_port
from tests.fakes.wait import eventually_sync

PATIENCE = 30.0


class NoPgBouncer(Exception):
    """There is none on this machine; the text says how one comes to be."""


class PgBouncer:
    """A process that passes on to one server, whatever the database. Whoever comes is its superuser."""

    def __init__(self, program: str, folder: Path, port: int) -> None:
        self._program = program
        self._folder = folder
        self.port = port
        self._process = self._start()

    @property
    def version(self) -> tuple[int, int]:
        """Such as (1, 18)."""
        told = subprocess.run([self._program, "--version"], capture_output=True, text=True, check=True)
        major, minor, *_ = told.stdout.split()[1].split(".")
        return int(major), int(minor)

    def url(self, database_url: str) -> str:
        """The database's URL through the pooler."""
        through = (
            make_url(database_url).difference_update_query(["host"]).set(host="127.0.0.1", port=self.port)
        )
        return through.render_as_string(hide_password=False)

    def kill9(self) -> None:
        """SIGKILL: all of its connections are cut, on both sides."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def start_again(self) -> None:
        """As it was."""
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [self._program, self._folder / "pgbouncer.ini"],
                user=_user(),
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            eventually_sync(lambda: process.poll() is not None or _listens(self.port), within=PATIENCE)
        except BaseException:
            process.kill()
            raise
        assert process.returncode is None, (self._folder / "log").read_text()[-500:]
        return process


@contextlib.contextmanager
def pgbouncer(server_url: str, **options: str) -> Iterator[PgBouncer]:
    """A PgBouncer in transaction mode until the block ends. `options` are lines of its pgbouncer.ini.

    Raises NoPgBouncer.
    """
    program = _program()
    folder, port = Path(tempfile.mkdtemp(prefix="tk-pgbouncer-", dir="/tmp")), free_port()
    lines = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": "transaction",
        "max_client_conn": "300",
        "stats_period": "3600",
        **options,
    }
    text = "\n".join(f"{name} = {value}" for name, value in lines.items())
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = {_address(server_url)}\n[pgbouncer]\n{text}\n", encoding="utf-8"
    )
    user = _user()
    if user is not None:
        for path in (folder, folder / "pgbouncer.ini"):
            shutil.chown(path, user)
    try:
        pooler = PgBouncer(program, folder, port)
        try:
            yield pooler
        finally:
            pooler.kill9()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _program() -> str:
    # Debian keeps it where only root looks by itself
    path = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin"
    program = os.environ.get("TURNKEEPER_TEST_PGBOUNCER") or shutil.which("pgbouncer", path=path)
    if program is None:
        raise NoPgBouncer("there is no PgBouncer; apt-get install pgbouncer, or TURNKEEPER_TEST_PGBOUNCER")
    return program


def _user() -> str | None:
    """Whom to run it as: it refuses root."""
    return "nobody" if os.geteuid() == 0 else None


def _address(server_url: str) -> str:
    url = make_url(server_url)
    folder = url.query.get("host")
    given = {
        "host": url.host or folder,
        "port": url.port or 5432,
        "user": url.username or "postgres",
        "password": url.password,
    }
    quoted = {name: str(value).replace("'", "''") for name, value in given.items() if value is not None}
    return " ".join(f"{name}='{value}'" for name, value in quoted.items())


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
