"""The socket of the HTTP API of a `turnkeeper dev`.

The supervisor listens and its child serves: a port that was free when it was chosen may be taken a moment
later, and whoever calls while the child starts again is answered late rather than refused.
"""

from __future__ import annotations

import socket

from turnkeeper_storage.errors import ConfigurationError

HOST = "127.0.0.1"
API_PORT = 8700


def listen(wished: int | None) -> socket.socket:
    """Listen on the port that was wished for, or on API_PORT, or on any that is free.

    Raises ConfigurationError when the one that was wished for cannot be had.
    """
    if wished is not None:
        try:
            return socket.create_server((HOST, wished))
        except OSError as error:
            raise ConfigurationError(
                f"--api-port: cannot listen on {HOST} port {wished} ({error.strerror}); "
                "use another one, or stop who has it"
            ) from None
    try:
        return socket.create_server((HOST, API_PORT))
    except OSError:
        return socket.create_server((HOST, 0))
