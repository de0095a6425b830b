"""What the errors of the drivers mean: try again, away for now, or somebody has to mend something."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from turnkeeper_storage.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    InvalidInput,
    SchemaMismatch,
    TurnkeeperError,
)
from turnkeeper_storage.tables import REVISION
from turnkeeper_storage.tls import distrusted

# serialization_failure, deadlock_detected, lock_not_available
TRANSIENT_STATES = frozenset({"40001", "40P01", "55P03"})
# of asyncpg and so without a state: a plan that was cached before a migration
STALE_PLAN = "InvalidCachedStatementError"
# connection exceptions, operator intervention, too many connections
UNAVAILABLE_CLASSES = ("08", "57P", "53300")
NO_DATABASE = "3D000"
NO_LOGIN = "28"
NO_TABLE = "42P01"
UNIQUE_VIOLATION = "23505"
NO_RIGHT = "42501"
# NUL in a text; asyncpg's own refusal of a parameter
UNSTORABLE_STATES = frozenset({"22021", "22000"})


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may well succeed at once: conflicts, cached plans, dropped connections."""
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    if isinstance(error.orig, sqlite3.OperationalError):
        return "locked" in str(error.orig) or "busy" in str(error.orig)
    return _state(error) in TRANSIENT_STATES or type(error.orig).__name__ == STALE_PLAN


def is_taken(error: BaseException) -> bool:
    """Whether another row has what must be unique."""
    return isinstance(error, DBAPIError) and _state(error) == UNIQUE_VIOLATION


def is_unavailable(error: BaseException) -> bool:
    """Whether the database could not be reached, or ended the conversation."""
    if isinstance(error, (OSError, TimeoutError, PoolTimeout)):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    if isinstance(error.orig, sqlite3.OperationalError):
        return any(part in str(error.orig) for part in ("locked", "busy", "unable to open", "disk"))
    return _state(error).startswith(UNAVAILABLE_CLASSES)


def explained(error: Exception) -> TurnkeeperError | None:
    """The error as one of ours when its meaning is known.

    The text of a driver's error may hold parameters, and so content, or a URL: only its kind is told.
    """
    inner = error.orig if isinstance(error, StatementError) else error
    if isinstance(inner, TurnkeeperError):  # raised while parameters were made
        return inner
    state = _state(error)
    if state == NO_DATABASE:
        return ConfigurationError("TURNKEEPER_DATABASE_URL names a database that is not there; create it")
    if state.startswith(NO_LOGIN):
        return ConfigurationError(
            "the database refused the login; check user and password in TURNKEEPER_DATABASE_URL"
        )
    if state == NO_RIGHT:
        return ConfigurationError(
            "the role in TURNKEEPER_DATABASE_URL may not do this; another role may, or it lacks "
            "`turnkeeper migrate --grant` after the last migration (see `turnkeeper roles --help`)"
        )
    if is_missing_table(error):
        return SchemaMismatch(None, REVISION, "run `turnkeeper migrate`")
    if state in UNSTORABLE_STATES or isinstance(inner, UnicodeEncodeError):
        return InvalidInput(
            "a text", "has characters that the database cannot store", "leave out NUL and lone surrogates"
        )
    refused = distrusted(error)
    if refused is not None:
        return DatabaseUnavailable(
            f"the database's certificate is not trusted ({refused}); "
            "check sslrootcert and the host in TURNKEEPER_DATABASE_URL"
        )
    if "rejected SSL upgrade" in str(inner):
        return DatabaseUnavailable(
            "the database speaks no TLS, and TURNKEEPER_DATABASE_URL wants it; turn ssl on in the server"
        )
    if is_unavailable(error) or is_transient(error):
        return DatabaseUnavailable(
            f"the database did not answer ({type(inner).__name__}); "
            "check TURNKEEPER_DATABASE_URL and the server"
        )
    return None


def is_missing_table(error: Exception) -> bool:
    """Whether one of our tables is not there."""
    if not isinstance(error, DBAPIError) or "turnkeeper_" not in str(error.orig):
        return False
    return _state(error) == NO_TABLE or "no such table" in str(error.orig)


def hide_parameters(error: BaseException) -> None:
    """Keep parameters out of the error's text, whatever the engine says: they hold content."""
    if isinstance(error, StatementError):
        error.hide_parameters = True


def _state(error: BaseException) -> str:
    inner = getattr(error, "orig", None) or error
    return str(getattr(inner, "sqlstate", None) or getattr(inner, "pgcode", None) or "")
