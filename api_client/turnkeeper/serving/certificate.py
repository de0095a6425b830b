"""The certificate that the HTTP API shows, looked at before anything is opened."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from turnkeeper_storage.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files in PEM form; `key` is None where the chain's file holds the key too."""

    chain: Path
    key: Path | None = None


def certificate_of(chain: Path | None, key: Path | None) -> Certificate | None:
    """The certificate of `--ssl-certfile` and `--ssl-keyfile`; None where neither is given.

    Raises ConfigurationError for files that cannot be read or do not belong together.
    """
    if chain is None:
        if key is not None:
            raise ConfigurationError(
                "--ssl-keyfile: is given without --ssl-certfile; give the certificate too"
            )
        return None
    for option, file in (("--ssl-certfile", chain), ("--ssl-keyfile", key)):
        if file is not None:
            _open(option, file)
    try:
        # a key with a passphrase would ask for it on the terminal
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            chain, key, password=_no_passphrase
        )
    except (ssl.SSLError, ConfigurationError) as error:
        reason = getattr(error, "reason", None) or "the key wants a passphrase"
        raise ConfigurationError(
            f"--ssl-certfile, --ssl-keyfile: are no certificate in PEM form with its key ({reason}); "
            "check both files"
        ) from None
    return Certificate(chain, key)


def _no_passphrase() -> str:
    raise ConfigurationError("the key wants a passphrase")


def _open(option: str, file: Path) -> None:
    try:
        with file.open("rb"):
            return
    except OSError as error:
        raise ConfigurationError(f"{option}: {file} cannot be read ({error.strerror})") from None
