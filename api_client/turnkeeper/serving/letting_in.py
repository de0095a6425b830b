"""Which way of authentication `--auth` means, and where it may be had."""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnkeeper.cli.loading import load_attribute
from turnkeeper_storage.errors import ConfigurationError, InvalidInput

if TYPE_CHECKING:
    from turnkeeper_api import Authenticate
    from turnkeeper_client import AsyncClient

KEYS = "keys"
NOBODY = "none"


def authentication(auth: str, host: str, client: AsyncClient, identity: str) -> Authenticate | None:
    """The dependency; None for API keys. Raises InvalidInput, ConfigurationError."""
    from turnkeeper_api.loopback import anybody_here, is_loopback

    if auth == KEYS:
        return None
    if auth == NOBODY:
        if not is_loopback(host):
            raise InvalidInput(
                "--auth",
                f"is none, and {host} can be reached from other machines",
                "use --auth keys (see `turnkeeper keys`), --auth MODULE:ATTRIBUTE, or --host 127.0.0.1",
            )
        return anybody_here(client.tenant, identity)
    if ":" not in auth:
        raise InvalidInput("--auth", f"is {auth[:64]!r}", "use keys, none, or MODULE:ATTRIBUTE")
    found = load_attribute(auth, "--auth")
    if not callable(found):
        raise ConfigurationError(f"--auth: {auth} is {type(found).__name__}, no dependency of FastAPI")
    return found
