"""PostgreSQL and Redis that speak TLS themselves: Debian's programs, since the wheels have none with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import redis

from tests.fakes.certificates import Papers
from tests.fakes.processes import Processes
from tests.fakes.wait import eventually_sync

PATIENCE = 30.0
# nobody comes in over the network without TLS
_HBA = "hostssl all all 127.0.0.1/32 trust\n"


class NoTls(Exception):
    """There is no such server with TLS on this machine; the text says what was looked for."""


def free_port() -> int:
    """A port of the loopback that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def postgres_with_tls(papers: Papers) -> Iterator[int]:
    """A new PostgreSQL on a port of the loopback, for user `postgres`, over TLS alone. Raises NoTls."""
    programs = _postgres_programs()
    folder = Path(tempfile.mkdtemp(prefix="tk-tls-", dir="/tmp"))
    user = "postgres" if os.geteuid() == 0 else None
    try:
        for name, file in (("server.crt", papers.chain), ("server.key", papers.key)):
            shutil.copyfile(file, folder / name)
            (folder / name).chmod(0o600)
        if user is not None:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, user)
        with _served(programs, folder, user) as port:
            yield port
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _served(programs: Path, folder: Path, user: str | None) -> Iterator[int]:
    data, port = folder / "data", free_port()
    initdb = [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "utf8"]
    made = subprocess.run(initdb, user=user, cwd=folder, capture_output=True, timeout=PATIENCE, check=False)
    if made.returncode:
        raise NoTls(f"initdb: {made.stderr.decode()[-200:]}")
    (data / "pg_hba.conf").write_text(_HBA)
    options = {
        "port": str(port),
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "ssl": "on",
        "ssl_cert_file": str(folder / "server.crt"),
        "ssl_key_file": str(folder / "server.key"),
        "fsync": "off",
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, *words],
            user=user,
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        eventually_sync(lambda: server.poll() is not None or _listens(port), within=PATIENCE)
        if server.returncode is not None:
            raise NoTls(f"postgres: {(folder / 'log').read_text()[-200:]}")
        yield port
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(PATIENCE)


def _postgres_programs() -> Path:
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        told = subprocess.run(
            [folder / "pg_config", "--configure"], capture_output=True, text=True, timeout=30, check=False
        )
        if "--with-openssl" in told.stdout or "--with-ssl" in told.stdout:
            return folder
    raise NoTls("no PostgreSQL with TLS under /usr/lib/postgresql; apt-get install postgresql")


def redis_with_tls(processes: Processes, papers: Papers) -> int:
    """The port of a new Redis that speaks TLS alone. Raises NoTls."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        raise NoTls("neither redis-server nor valkey-server is on this machine")
    port = free_port()
    files = ("--tls-cert-file", str(papers.chain), "--tls-key-file", str(papers.key))
    trust = ("--tls-ca-cert-file", str(papers.chain), "--tls-auth-clients", "no")
    options = ("--port", "0", "--bind", "127.0.0.1", "--save", "", "--tls-port", str(port))
    server = processes(program, *options, *files, *trust)
    eventually_sync(lambda: server.returncode is not None or _pings(port), within=PATIENCE)
    if server.returncode is not None:
        raise NoTls(f"{program} is built without TLS")
    return port


def _pings(port: int) -> bool:
    # whether it is there: who it is, the test asks
    with redis.Redis(port=port, ssl=True, ssl_cert_reqs="none", ssl_check_hostname=False) as client:
        try:
            return bool(client.ping())
        except redis.exceptions.RedisError:
            return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
