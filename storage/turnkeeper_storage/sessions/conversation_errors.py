"""What the openai client raises in a call of the Conversations API, as faults of ours.

Imported once the openai client is there. The client's own errors hold the request, and with it items and
the key: they are never passed on, and their texts are not repeated.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import openai

from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.items import Json
from turnkeeper_storage.retrying import is_retryable, retry_after
from turnkeeper_storage.sessions.conversation_faults import Fault, Gone, Refused, timed_out, unreadable

_CODE = re.compile(r"[a-z0-9_]{1,64}")
_ITEM = re.compile(r"items\[(\d{1,4})\]")


def explained(error: Exception, seconds: float) -> Exception:
    """A client's error as Gone, Refused, Fault or ConfigurationError."""
    if isinstance(error, openai.APIStatusError):
        return _of_status(error)
    if isinstance(error, json.JSONDecodeError):
        return unreadable("its answer is no JSON")
    causes = _causes(error)
    # of a header, in a transport: a ValueError
    if causes & _NEVER_MADE or isinstance(error, ValueError):
        return ConfigurationError(
            "a request to the Conversations API cannot be made; check base_url and api_key "
            "(OPENAI_BASE_URL, OPENAI_API_KEY)"
        )
    if not isinstance(error, openai.APIConnectionError):
        return Fault(f"it failed with {type(error).__name__}", may_stand=True, retryable=False)
    if causes & _NEVER_SENT:
        return Fault("it cannot be reached", may_stand=False, retryable=True)
    if isinstance(error, openai.APITimeoutError) and not causes & _BROKEN_OFF:
        return timed_out(seconds)
    return Fault("the connection broke", may_stand=True, retryable=False)


# Names, for the client has two transports with errors of their own. The aiohttp one gives a connection that
# is refused or broken as a time-out.
_NEVER_SENT = frozenset(
    {
        "ClientConnectorError",
        "ConnectionTimeoutError",
        "httpcore.ConnectError",
        "httpcore.ConnectTimeout",
        "httpcore2.ConnectError",
        "httpcore2.ConnectTimeout",
        "PoolTimeout",
    }
)
_NEVER_MADE = frozenset({"InvalidURL", "LocalProtocolError", "UnsupportedProtocol"})
_BROKEN_OFF = frozenset({"ServerDisconnectedError", "ClientOSError", "ClientConnectionResetError"})


def _causes(error: BaseException) -> set[str]:
    names: set[str] = set()
    cause = error.__cause__
    while cause is not None:
        for kind in type(cause).__mro__:
            names |= {kind.__name__, f"{kind.__module__.partition('.')[0]}.{kind.__name__}"}
        cause = cause.__cause__
    return names


def _of_status(error: openai.APIStatusError) -> Exception:
    status, headers = error.status_code, error.response.headers
    body: dict[str, Json] = error.body if isinstance(error.body, dict) else {}
    code = str(body.get("code"))
    if status in (401, 403):
        return ConfigurationError(
            f"the Conversations API refuses the key (HTTP {status}); check api_key or OPENAI_API_KEY"
        )
    if code == "insufficient_quota":
        return Fault("the account is out of quota", may_stand=False, retryable=False)
    # the API's word for 'somebody else is writing to it just now', with a status that says otherwise
    is_locked = code == "conversation_locked"
    if is_locked or is_retryable(status, headers):
        wait = retry_after(headers, datetime.now(UTC))
        may_stand = status >= 500 or status == 408
        return Fault(f"HTTP {status}", may_stand=may_stand, retryable=True, retry_after=wait)
    if status == 404:
        return Gone()
    if status < 500:
        return Refused(_why(status, code), _item_of(body.get("param")))
    return Fault(f"HTTP {status}", may_stand=True, retryable=False)


def _why(status: int, code: str) -> str:
    # codes are the API's words; what else it says may quote an item
    said = f", {code}" if _CODE.fullmatch(code) and code != "None" else ""
    return f"the Conversations API refuses it (HTTP {status}{said})"


def _item_of(param: Json) -> int | None:
    found = _ITEM.match(param) if isinstance(param, str) else None
    return int(found[1]) if found else None
