"""No authentication, for one's own machine only: whoever reaches the loopback may do everything.

A page of another site may not: browsers let it send requests to the loopback, by any name that leads there.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from fastapi import Request

from turnkeeper_api import problems
from turnkeeper_api.credentials import Authenticate, Credential, Scope
from turnkeeper_api.problems import Refused


def is_loopback(host: str) -> bool:
    """Whether a server on this host can be reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def anybody_here(tenant: str, identity: str) -> Authenticate:
    """The dependency: everything within `tenant`, in the name of `identity`."""
    credential = Credential(tenant, frozenset(Scope), identity)

    async def authenticate(request: Request) -> Credential:
        if not _is_from_here(request):
            raise Refused(problems.FROM_ELSEWHERE)
        return credential

    return authenticate


def _is_from_here(request: Request) -> bool:
    host = request.headers.get("host", "")
    if not is_loopback(_name_in(host)):
        return False
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == host


def _name_in(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
