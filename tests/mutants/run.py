"""Run every mutant against the suites that are to notice it: `python -m tests.mutants.run [NAME …]`.

Prints which test caught which; ends with 1 when one was not caught. A mutant is caught by the first test that
fails with it; that the tests pass without it is what `make test` shows.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence

from tests.mutants import MUTANTS, VARIABLE
from tests.mutants.mutants import Mutant

# of the random walk: more than in the ordinary tests
EXAMPLES = "150"
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


def caught_by(name: str, mutant: Mutant) -> str | None:
    """The first test that fails with the mutant; None when none does."""
    for suite in mutant.suites:
        argv = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "--timeout",
            "600",
            suite,
        ]
        env = {**os.environ, VARIABLE: name, "TURNKEEPER_TEST_EXAMPLES": EXAMPLES}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
        found = _FAILED.search(done.stdout)
        if found:
            return found[1]
        if done.returncode not in (0, 1):
            raise SystemExit(f"{name}: pytest ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return None


def main(names: Sequence[str]) -> int:
    unknown = set(names) - set(MUTANTS)
    if unknown:
        known = ", ".join(MUTANTS)
        sys.stderr.write(f"no such mutant: {', '.join(sorted(unknown))}; there are: {known}\n")
        return 2
    survivors = []
    for name in names or MUTANTS:
        mutant, begun = MUTANTS[name], time.monotonic()
        test = caught_by(name, mutant)
        told = f"caught by {test}" if test else "NOT CAUGHT"
        _say(f"{name:<26} {mutant.rule:<9} {told} ({time.monotonic() - begun:.0f} s)")
        if test is None:
            survivors.append(name)
    _say(f"{len(survivors)} of {len(names or MUTANTS)} mutants were not caught")
    return 1 if survivors else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
