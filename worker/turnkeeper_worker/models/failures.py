"""What the openai client raises, as ModelError: a stable code, a remedy, whether to try again."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import openai

from turnkeeper_storage.items import Json, encode
from turnkeeper_storage.retrying import is_retryable, retry_after
from turnkeeper_storage.tls import distrusted
from turnkeeper_worker.models.answer import failure
from turnkeeper_worker.models.base import ModelError, ModelRequest

_MAX_DETAIL = 300
# Words of an API's own that may also stand in an input: without them no server's text could be read.
_API_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are at be but by call can cannot context does error exceeds expected failed field for "
        "found from function got has in input instead invalid is it item items length limit maximum message "
        "missing model must name no not of on only or output parameter parameters property provided request "
        "required response schema server should support supported text than that the this to token tokens "
        "tool tools type unknown unsupported use value was when window with you your ",
    )
)
_SECRET = re.compile(r"(?i)\b(?:sk-|bearer )\S+")


def from_client(error: openai.APIError, request: ModelRequest) -> ModelError:
    """The client's error as ours."""
    # The aiohttp transport gives refused and dropped connections as ConnectTimeout, hence as a time-out.
    if isinstance(error, openai.APITimeoutError) and type(error.__cause__).__name__ != "ConnectTimeout":
        return timed_out(request)
    if isinstance(error, openai.APIStatusError):
        return _from_status(error, request)
    if isinstance(error, openai.APIConnectionError):
        refused = distrusted(error)
        text = "cannot reach the model server; check OPENAI_BASE_URL and the network"
        if refused is not None:
            text = (
                f"the model server's certificate is not trusted ({refused}); "
                "check OPENAI_BASE_URL, and TURNKEEPER_CA_FILE for an authority of your own"
            )
        return ModelError("model_unreachable", text, retryable=True)
    # An `error` object in a stream; its own text is not repeated.
    return failure(error.body if isinstance(error.body, dict) else {})


def timed_out(request: ModelRequest) -> ModelError:
    """The call took too long."""
    return ModelError("model_timeout", f"no whole answer within {request.timeout:g} s", retryable=True)


def _from_status(error: openai.APIStatusError, request: ModelRequest) -> ModelError:
    status, headers = error.status_code, error.response.headers
    retryable = is_retryable(status, headers)
    if status == 429 and error.code == "insufficient_quota":
        code, text, retryable = (
            "model_quota",
            "the account is out of quota; check its plan and billing",
            False,
        )
    elif status in (401, 403):
        code, text = "model_auth", "the model server refuses the key; check OPENAI_API_KEY"
    else:
        code, text = _explained(status, request)
        text += _detail(error, request) if not retryable else ""
    trace = f", request {error.request_id}" if error.request_id else ""
    wait = retry_after(headers, datetime.now(UTC))
    return ModelError(code, f"{text} (HTTP {status}{trace})", retryable=retryable, retry_after=wait)


def _explained(status: int, request: ModelRequest) -> tuple[str, str]:
    match status:
        case 400 | 422:
            return "model_bad_request", "the model server refuses the request"
        case 404:
            text = f"there is no model {request.model!r}; check the agent's model and OPENAI_BASE_URL"
            return "model_not_found", text
        case 408:
            return "model_timeout", "the model server gave up waiting"
        case 413:
            return "model_input_too_large", "the input is too large for the model server; send less"
        case 429:
            return "model_rate_limited", "the model server is over its rate limit"
    if status >= 500:
        return "model_unavailable", "the model server has a fault"
    return "model_http_error", "the model server refuses the request"


def _detail(error: openai.APIStatusError, request: ModelRequest) -> str:
    """The server's own words, without those that also stand in the request's content."""
    body = error.body if isinstance(error.body, dict) else {}
    said = body.get("message")
    parts = [f"{name} {body[name]}" for name in ("code", "param") if isinstance(body.get(name), str)]
    parts += [said] if isinstance(said, str) else []
    if not parts:
        return ""
    return ": " + masked("; ".join(parts)[:_MAX_DETAIL], [request.instructions, list(request.input)])


def masked(text: str, content: Json) -> str:
    """`text` with each word that stands in `content` as "…": servers quote what they refuse."""
    known = set(re.findall(r"\w+", encode(content).lower())) - _API_WORDS
    text = _SECRET.sub("…", text)
    return re.sub(r"\w+", lambda word: "…" if word[0].lower() in known else word[0], text)
