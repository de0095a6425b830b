"""The HTTP API: `create_app` makes it, to be served alone or mounted in an app of one's own."""

from turnkeeper_api.app import create_app, lifespan_with
from turnkeeper_api.credentials import Authenticate, Credential, Scope

__all__ = ["Authenticate", "Credential", "Scope", "create_app", "lifespan_with"]
