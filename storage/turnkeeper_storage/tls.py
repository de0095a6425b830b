"""What URLs and settings say of TLS, as the libraries behind them want to be told.

Nothing here goes unprotected by itself: who asks for TLS gets it with the server's certificate and name
checked, or an error.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit

from sqlalchemy.engine.url import URL

from turnkeeper_storage.errors import ConfigurationError

Option: TypeAlias = str | bool | int | None

DATABASE = "TURNKEEPER_DATABASE_URL"
BROKER = "TURNKEEPER_BROKER_URL"
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# libpq's names of files, and of the rest that asyncpg reads from a DSN
_DATABASE_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_DATABASE_NAMES = (
    "sslmode",
    *_DATABASE_FILES,
    "sslpassword",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
)
# redis-py's names in a URL, and what py-amqp calls the same
_BROKER_FILES = {"ssl_ca_certs": "ca_certs", "ssl_certfile": "certfile", "ssl_keyfile": "keyfile"}
_CHECKS = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
_NO = ("false", "no", "0")


def database_tls(url: URL) -> tuple[URL, dict[str, object]]:
    """The URL without libpq's TLS parameters, and what asyncpg's `connect` is given in their place.

    Raises ConfigurationError for a mode that is none, a file that is not there, and a check against nothing.
    """
    said = {name: _single(url, name) for name in _DATABASE_NAMES if name in url.query}
    if not said:
        return url, {}
    mode = said.get("sslmode", "prefer")
    if mode not in SSL_MODES:
        raise ConfigurationError(f"{DATABASE}: sslmode is none of {', '.join(SSL_MODES)}")
    rest = url.difference_update_query(_DATABASE_NAMES)
    root = said.get("sslrootcert")
    if root == "system":
        # as libpq: the system's authorities vouch for anybody's names, so the name must be checked
        if mode != "verify-full":
            raise ConfigurationError(f"{DATABASE}: sslrootcert=system needs sslmode=verify-full")
        return rest, {"ssl": _with_own(ssl.create_default_context(), said)}
    if mode.startswith("verify-") and root is None:
        raise ConfigurationError(
            f"{DATABASE}: sslmode={mode} needs sslrootcert=FILE with the authority's certificate, "
            "or sslrootcert=system"
        )
    for name in _DATABASE_FILES:
        if name in said:
            _readable(said[name], f"{DATABASE}: {name}")
    # asyncpg reads these from a DSN only; what is given beside it comes first
    return rest, {"dsn": f"postgresql://?{urlencode({'sslmode': mode, **said})}"}


def _single(url: URL, name: str) -> str:
    value = url.query[name]
    return value if isinstance(value, str) else value[-1]


def _with_own(context: ssl.SSLContext, said: Mapping[str, str]) -> ssl.SSLContext:
    if "sslcert" in said:
        cert = _readable(said["sslcert"], f"{DATABASE}: sslcert")
        key = _readable(said["sslkey"], f"{DATABASE}: sslkey") if "sslkey" in said else None
        context.load_cert_chain(cert, key, said.get("sslpassword"))
    return context


@dataclass(frozen=True, slots=True)
class BrokerTls:
    """Celery's `broker_url` without TLS parameters, and its `broker_use_ssl`; None: no TLS is asked for."""

    url: str = field(repr=False)
    use_ssl: dict[str, Option] | None = None


def broker_tls(url: str) -> BrokerTls:
    """What a broker's URL says: `rediss://` and `amqps://` with the parameters `ssl_ca_certs`,
    `ssl_certfile`, `ssl_keyfile`, `ssl_cert_reqs` (required by default), `ssl_check_hostname` (true).

    kombu by itself takes any certificate for `rediss://`, and any name for `amqps://`.
    Raises ConfigurationError.
    """
    parts = [_broker_part(one) for one in url.split(";")]
    options = [part.use_ssl for part in parts]
    if any(one != options[0] for one in options):
        raise ConfigurationError(
            f"{BROKER}: its addresses do not ask for the same TLS; give all the same scheme and parameters"
        )
    return BrokerTls(";".join(part.url for part in parts), options[0])


def _broker_part(url: str) -> BrokerTls:
    scheme = url.partition("://")[0]
    if scheme not in ("rediss", "amqps"):
        return BrokerTls(url)
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    said = {name: query.pop(name) for name in list(query) if name.startswith("ssl_")}
    bare = parts._replace(query=urlencode(query)).geturl()
    required = said.pop("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if required not in _CHECKS:
        raise ConfigurationError(f"{BROKER}: ssl_cert_reqs is none of {', '.join(_CHECKS)}")
    named = said.pop("ssl_check_hostname", "true").lower() not in _NO and required != "none"
    unknown = sorted(set(said) - set(_BROKER_FILES))
    if unknown:
        known = (*_BROKER_FILES, "ssl_cert_reqs", "ssl_check_hostname")
        raise ConfigurationError(f"{BROKER}: {', '.join(unknown)} is not known; use {', '.join(known)}")
    files: dict[str, Option] = {
        name: str(_readable(path, f"{BROKER}: {name}")) for name, path in said.items()
    }
    if scheme == "rediss":
        return BrokerTls(bare, {"ssl_cert_reqs": _CHECKS[required], "ssl_check_hostname": named, **files})
    options: dict[str, Option] = {"cert_reqs": _CHECKS[required]}
    # kombu fills in the name of the host; without the entry no name is checked
    options |= {"server_hostname": None} if named else {}
    return BrokerTls(bare, {**options, **{_BROKER_FILES[name]: path for name, path in files.items()}})


def https_context(ca_file: str | None, field_name: str = "TURNKEEPER_CA_FILE") -> ssl.SSLContext | None:
    """Trust in the system's authorities and in those of a PEM file; None without a file: as the library does.

    Blocks: it reads files. Raises ConfigurationError.
    """
    if ca_file is None:
        return None
    context = ssl.create_default_context()
    path = _readable(ca_file, field_name)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        raise ConfigurationError(f"{field_name}: {path} holds no certificates in PEM form") from None
    return context


def distrusted(error: BaseException) -> str | None:
    """Why a server's certificate was refused, where that is what `error` comes from; never its contents."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, ssl.SSLCertVerificationError):
            inner = getattr(cause, "certificate_error", cause)  # aiohttp's own kind of it has nothing to say
            return str(getattr(inner, "verify_message", "its certificate cannot be verified"))
        if "CERTIFICATE_VERIFY_FAILED" in str(cause):
            return "its certificate cannot be verified"
        seen.add(id(cause))
        cause = getattr(cause, "orig", None) or cause.__cause__ or cause.__context__
    return None


def _readable(path: str, name: str) -> Path:
    file = Path(path)
    try:
        with file.open("rb"):
            return file
    except OSError as error:
        raise ConfigurationError(f"{name}: {path} cannot be read ({error.strerror})") from None
