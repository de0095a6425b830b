"""Turnkeeper with a rule of its protocol switched off, to see that the tests notice. Never part of a release.

TURNKEEPER_TEST_MUTANT names one of MUTANTS; pytest and the worker processes of tests then run with it.
"""

from __future__ import annotations

import os

from tests.mutants.mutants import MUTANTS, Mutant

__all__ = ["MUTANTS", "Mutant", "apply_from_env"]
VARIABLE = "TURNKEEPER_TEST_MUTANT"


def apply_from_env() -> None:
    """Switch off what the environment says; nothing when it says nothing."""
    name = os.environ.get(VARIABLE)
    if name:
        MUTANTS[name].apply()
