"""What the errors of the first contact with a database mean for whoever has to mend it."""

from __future__ import annotations

from turnkeeper_storage.engine import UNAVAILABLE_CLASSES, is_unavailable
from turnkeeper_storage.errors import ConfigurationError, DatabaseUnavailable

# of PostgreSQL: no such database, and the class of refused logins
NO_DATABASE = "3D000"
NO_LOGIN = "28"


def explained(error: Exception) -> Exception:
    """The error as one of ours when its cause is known, else as it is.

    asyncpg's own errors come through SQLAlchemy as they are while it connects. The text of a driver's error
    may hold a URL, so only its kind is told.
    """
    inner = getattr(error, "orig", None) or error
    state = str(getattr(inner, "sqlstate", None) or "")
    if state == NO_DATABASE:
        return ConfigurationError("TURNKEEPER_DATABASE_URL names a database that is not there; create it")
    if state.startswith(NO_LOGIN):
        return ConfigurationError(
            "the database refused the login; check user and password in TURNKEEPER_DATABASE_URL"
        )
    if is_unavailable(error) or state.startswith(UNAVAILABLE_CLASSES):
        return DatabaseUnavailable(
            f"the database did not answer ({type(inner).__name__}); "
            "check TURNKEEPER_DATABASE_URL and the server"
        )
    return error
