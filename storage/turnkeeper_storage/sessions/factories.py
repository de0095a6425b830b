"""What a session factory is given beside the session's id: what it has parameters for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypeAlias

from turnkeeper_storage.sessions.protocol import Session

# of (session_id), with any of the keywords `tenant` and `database`: the same for workers and clients
SessionFactory: TypeAlias = Callable[..., Session]
TENANT = "tenant"
DATABASE = "database"


def asked_for(factory: SessionFactory) -> frozenset[str]:
    """TENANT and DATABASE, as far as the factory has parameters of these names.

    A `database` with a default is the caller's own, and left alone.
    """
    parameters = inspect.signature(factory).parameters
    names = {TENANT} & parameters.keys()
    if DATABASE in parameters and parameters[DATABASE].default is inspect.Parameter.empty:
        names.add(DATABASE)
    return frozenset(names)
