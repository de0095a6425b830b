"""What an answer of the HTTP API means: a document, or the error that the server told. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from turnkeeper_client.error_codes import rebuilt
from turnkeeper_storage.errors import ApiRefused, ApiUnavailable, InvalidInput, TurnkeeperError
from turnkeeper_storage.items import Json, decode

# what a server, or a proxy before it, says while it is not there
AWAY = frozenset({502, 503, 504})
# a `Retry-After` beyond that is not waited for
LONGEST_PAUSE = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that was read whole. `headers` have names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300

    @property
    def document(self) -> Json:
        """The body as JSON. Raises ApiUnavailable for what is none: no API of ours answered."""
        found = _decoded(self.body)
        if found is _NONE:
            raise ApiUnavailable(f"status {self.status} without a JSON document")
        return found

    @property
    def error(self) -> TurnkeeperError:
        """The error of an answer that is not good."""
        told = _decoded(self.body)
        if not isinstance(told, dict) or not isinstance(told.get("code"), str):
            if self.status in AWAY:
                return ApiUnavailable(f"status {self.status}")
            return ApiRefused(self.status, None, "it told no reason", self.headers.get("x-request-id"))
        code, detail = told["code"], str(told.get("detail", ""))
        if code == "invalid_request":
            return _misshapen(told)
        known = rebuilt(code, detail, told)
        return known or ApiRefused(self.status, code, detail, told.get("request_id"))

    def pause(self, usual: float) -> float:
        """How long to wait before the same is asked again, in seconds."""
        try:
            told = float(self.headers.get("retry-after", ""))
        except ValueError:
            return usual
        return min(max(told, usual), LONGEST_PAUSE)


_NONE = object()


def _decoded(body: bytes) -> Json:
    try:
        return decode(body.decode())
    except (ValueError, RecursionError):
        return _NONE


def _misshapen(told: Mapping[str, Json]) -> InvalidInput:
    faults = told.get("errors") or [{}]
    first = faults[0]
    return InvalidInput(
        str(first.get("field", "request")), str(first.get("message", "is refused")), "see the API's reference"
    )
