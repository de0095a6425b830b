"""Whether a broker can be reached, asked on purpose and not by publishing something."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery


def reach_broker(app: Celery, seconds: float) -> None:
    """Return when the broker of `app` takes a connection within so many seconds. Blocks.

    Raises what kombu and its transport raise.
    """
    connection = app.connection_for_write(connect_timeout=seconds)
    if str(connection.transport_cls or "").startswith(("redis", "valkey")):
        limits = {"socket_connect_timeout": seconds, "socket_timeout": seconds}
        connection.transport_options = {**(connection.transport_options or {}), **limits}
    try:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=seconds)
        # Redis is asked when a channel is opened, not before
        connection.default_channel  # noqa: B018
    finally:
        connection.release()
