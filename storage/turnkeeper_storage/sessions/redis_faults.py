"""What an error of Redis means to who uses a session in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from turnkeeper_storage.errors import ConfigurationError, StoreUnavailable, TurnkeeperError

STORE = "redis"
# by the first word of the server's answer
_SETTINGS = {
    "WRONGTYPE": "the session's key in Redis holds something else: choose another key_prefix",
    "NOAUTH": "Redis wants a password: put it into the URL",
    "WRONGPASS": "Redis does not take the user name and password of the URL",
    "NOPERM": "the user of the URL may not do this in Redis: allow "
    "EVAL, RPUSH, RPOP, LRANGE, DEL, SET, GET and PEXPIRE",
}


@contextmanager
def told() -> Iterator[None]:
    """Turn errors of the client into ours, without their texts: they may quote an item or a URL.

    Raises StoreUnavailable, ConfigurationError.
    """
    from redis.exceptions import RedisError

    try:
        yield
    except TurnkeeperError:
        raise
    except (RedisError, OSError, TimeoutError) as error:
        raise _explained(error) from None
    except UnicodeError:  # of a client that decodes, or encodes, in its own way: its text has what it read
        raise ConfigurationError(
            "the Redis client cannot read or write a text: give it UTF-8, and no decode_responses"
        ) from None


def _explained(error: Exception) -> TurnkeeperError:
    # an error within a script has the word in the middle of its text
    text = str(error)
    for word, remedy in _SETTINGS.items():
        if word in text[:200]:
            return ConfigurationError(remedy)
    if type(error).__name__ in ("AuthenticationError", "AuthenticationWrongNumberOfArgsError"):
        return ConfigurationError(_SETTINGS["WRONGPASS"])
    return StoreUnavailable(STORE, type(error).__name__)
