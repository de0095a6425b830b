"""Who comes in, and what a change must bring with it.

Signing in puts the API key in a cookie that no script can read (HttpOnly), that other sites' pages cannot
make a browser send (SameSite=Strict), and that goes to the console only (Path). The key is looked up at every
request, so that one that is revoked opens nothing. The cookie says when somebody signed in, and opens
nothing once that is SIGNED_IN_SECONDS ago, also in a browser that keeps it longer. Every change is a POST of
JSON from a page of ours, with a token that is derived from a cookie of the same browser.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from urllib.parse import urlsplit

from fastapi import Request, Response

from turnkeeper_api import problems
from turnkeeper_api.credentials import Authenticate, Credential
from turnkeeper_api.problems import Problem, Refused
from turnkeeper_client import AsyncClient

PATH = "/console"
KEY_COOKIE = "turnkeeper_console"
TOKEN_COOKIE = "turnkeeper_console_page"  # noqa: S105 - a name
TOKEN_HEADER = "X-CSRF-Token"  # noqa: S105 - a name
SIGNED_IN_SECONDS = 12 * 3600
# by how much the clocks of API processes may differ
_SKEW_SECONDS = 60
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

NO_TOKEN = Problem(
    403, "no_csrf_token", "Not from a page of the console", "the page is too old; load it again"
)


def prefix_of(request: Request) -> str:
    """Where the console is, as the browser sees it: it may be in an app that is mounted somewhere."""
    return str(request.scope.get("root_path", "")).rstrip("/") + PATH


def with_key_cookie(client: AsyncClient) -> Authenticate:
    """The dependency: the key in the cookie says the tenant, the scopes, and who it is."""

    async def authenticate(request: Request) -> Credential:
        text = key_in(request.cookies.get(KEY_COOKIE, ""), time.time())
        key = None if text is None else await client.check_api_key(text)
        if key is None:
            raise Refused(problems.UNAUTHENTICATED)
        return Credential(key.tenant, key.scopes, key.name)

    return authenticate


def cookie_of(key: str, at: float) -> str:
    """What the cookie holds of a key with which somebody signs in now; `at` in seconds since 1970."""
    return f"{int(at)}.{key}"


def key_in(cookie: str, at: float) -> str | None:
    """The key in a cookie; None when it is too old, or none of ours.

    The time in it needs no signature: whoever could change it has the key.
    """
    since, _, key = cookie.partition(".")
    if not (since.isascii() and since.isdigit() and len(since) < 12 and key):
        return None
    return key if -_SKEW_SECONDS <= at - int(since) < SIGNED_IN_SECONDS else None


def is_link(request: Request) -> bool:
    """Whether a person followed a link of another site: that changes nothing, and tells that site nothing."""
    is_page = request.headers.get("sec-fetch-dest") == "document"
    return is_page and request.headers.get("sec-fetch-site") in ("cross-site", "same-site")


def check_from_here(request: Request) -> None:
    """Raise Refused for a change that does not come from a page of this server."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is None and origin is not None:
        is_here = urlsplit(origin).netloc == request.headers.get("host", "")
    else:
        is_here = site in (None, "same-origin")
    if not is_here:
        raise Refused(problems.FROM_ELSEWHERE)


async def check_change(request: Request) -> None:
    """A dependency of all routes: what changes something comes from a page of ours, and has its token."""
    if request.method in _SAFE:
        return
    check_from_here(request)
    given, expected = request.headers.get(TOKEN_HEADER, ""), token_of(request)
    if expected is None or not hmac.compare_digest(given.encode(), expected.encode()):
        raise Refused(NO_TOKEN)


def token_of(request: Request) -> str | None:
    """The token that this browser's changes must have; None for a browser without a cookie of ours."""
    held = request.cookies.get(KEY_COOKIE) or request.cookies.get(TOKEN_COOKIE)
    return None if not held else _token(held)


def page_token(request: Request) -> tuple[str, str | None]:
    """The token for a page, and the cookie that must go with it when the browser has none."""
    token = token_of(request)
    if token is not None:
        return token, None
    fresh = secrets.token_hex(20)
    return _token(fresh), fresh


def let_in(request: Request, response: Response, key: str) -> None:
    """Keep the key in the browser for SIGNED_IN_SECONDS."""
    response.set_cookie(
        KEY_COOKIE,
        cookie_of(key, time.time()),
        max_age=SIGNED_IN_SECONDS,
        path=prefix_of(request),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def let_out(request: Request, response: Response) -> None:
    """Take the key out of the browser."""
    is_secure = request.url.scheme == "https"
    response.delete_cookie(
        KEY_COOKIE, path=prefix_of(request), secure=is_secure, httponly=True, samesite="strict"
    )


def keep_token_cookie(request: Request, response: Response, value: str) -> None:
    """It proves nothing but that a page was loaded by this browser, so a link from elsewhere may bring it."""
    response.set_cookie(
        TOKEN_COOKIE,
        value,
        path=prefix_of(request),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def safe_next(given: str | None, prefix: str) -> str:
    """Where to go after signing in: a page of the console, whatever was asked."""
    if given and given.startswith((f"{prefix}/", f"{prefix}?")) and given.isprintable() and "\\" not in given:
        return given
    return prefix


def _token(held: str) -> str:
    return hmac.new(held.encode(), b"turnkeeper-console-change", hashlib.sha256).hexdigest()
