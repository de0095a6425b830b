"""Who calls: the credential that a request has, and what it allows. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from turnkeeper_storage.admission import check_text
from turnkeeper_storage.api_keys import Scope, check_scopes

# A dependency of FastAPI: its parameters are resolved as those of a route, its result is a Credential.
Authenticate: TypeAlias = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Credential:
    """Whom a request is from.

    `tenant`: whose runs and sessions it sees, and no others. `scopes`: what it may do; with none it is known
    and may do nothing. `identity`: who that is, kept as the approver of what it decides and as the editor of
    what it edits. Raises InvalidInput.
    """

    tenant: str
    scopes: frozenset[Scope]
    identity: str

    def __post_init__(self) -> None:
        check_text(self.tenant, "tenant")
        check_text(self.identity, "identity")
        # a frozen value takes a list of names as well
        object.__setattr__(self, "scopes", check_scopes(self.scopes) if self.scopes else frozenset())

    def allows(self, scope: Scope) -> bool:
        """Whether it may do what `scope` stands for; `admin` may do everything within its tenant."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


__all__ = ["Authenticate", "Credential", "Scope"]
