"""What the exit codes of a child mean to its supervisor."""

from __future__ import annotations

FAILED = 1
WRONG_CALL = 2
# The user's module cannot be loaded: only another code helps, so nothing is tried before it changes.
BROKEN_MODULE = 3
