"""Finding the one Turnkeeper instance of a user's module."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from turnkeeper_storage.errors import ConfigurationError

if TYPE_CHECKING:
    from turnkeeper_worker.app import Turnkeeper

# what the face says of a name whose extra is not installed
EXTRA = "turnkeeper[worker]"


def load_app(target: str, *, queue: str | None = None, concurrency: int | None = None) -> Turnkeeper:
    """The instance that `module` or `module:attribute` names, the current folder being on the path.

    `queue` and `concurrency` stand over the environment while the module is read; a module that gives such a
    setting itself is refused, so that no option is ignored in silence. Raises ConfigurationError.
    """
    wanted = {"queue": queue, "concurrency": concurrency}
    given = {name: value for name, value in wanted.items() if value is not None}
    os.environ.update({f"TURNKEEPER_{name.upper()}": str(value) for name, value in given.items()})
    module_name, _, attribute = target.partition(":")
    module = _import(module_name)
    app = _named(module, attribute) if attribute else _only(module)
    for name, value in given.items():
        if getattr(app.settings, name) != value:
            raise ConfigurationError(
                f"--{name}: {module_name!r} gives its own {name} to Turnkeeper(…); change it there"
            )
    return app


def load_attribute(target: str, option: str) -> object:
    """What `module:attribute` names, for an option. Raises ConfigurationError."""
    module_name, _, attribute = target.partition(":")
    module = _import(module_name, option)
    found: object = getattr(module, attribute, None)
    if found is None:
        raise ConfigurationError(f"{option}: {module_name!r} has no attribute {attribute!r}")
    return found


def _import(name: str, option: str = "MODULE") -> ModuleType:
    if not name or name.startswith("."):
        raise ConfigurationError(
            f"{option}: {name!r} is no name of a module; use e.g. 'agents' for agents.py"
        )
    if name.endswith(".py") or "/" in name:
        raise ConfigurationError(
            f"{option}: {name!r} is a path; name the module, e.g. 'agents' for agents.py"
        )
    if "" not in sys.path and os.getcwd() not in sys.path:  # noqa: PTH109 - entries of sys.path are texts
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(missing + "."):
            raise ConfigurationError(
                f"{option}: there is no module {name!r} here; run this where {name.split('.')[0]}.py is"
            ) from error
        raise ConfigurationError(
            f"{option}: {name!r} imports {missing!r}, which is not installed; install it"
        ) from error
    except ImportError as error:
        if EXTRA in str(error):
            raise ConfigurationError(str(error)) from error
        raise


def _named(module: ModuleType, attribute: str) -> Turnkeeper:
    found = getattr(module, attribute, None)
    if not isinstance(found, _type()):
        what = "is missing" if found is None else f"is {type(found).__name__}, no Turnkeeper instance"
        raise ConfigurationError(f"MODULE: attribute {attribute!r} of {module.__name__!r} {what}")
    return found


def _only(module: ModuleType) -> Turnkeeper:
    found = {name: value for name, value in vars(module).items() if isinstance(value, _type())}
    distinct = {id(value): name for name, value in found.items()}
    if not distinct:
        # `agents` is the name of a well-known package too
        is_installed = "site-packages" in (module.__file__ or "")
        name = module.__name__
        where = f" (it is an installed package; run this where {name}.py is)" if is_installed else ""
        raise ConfigurationError(
            f"MODULE: {name!r} has no Turnkeeper instance{where}; write `turnkeeper = Turnkeeper(agents=[…])`"
        )
    if len(distinct) > 1:
        names = ", ".join(sorted(found))
        raise ConfigurationError(
            f"MODULE: {module.__name__!r} has several Turnkeeper instances ({names}); "
            f"name one: {module.__name__}:{min(found)}"
        )
    return next(iter(found.values()))


def _type() -> type[Turnkeeper]:
    from turnkeeper import Turnkeeper

    return Turnkeeper
