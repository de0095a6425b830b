"""Says how it was started, and ends with the code that it is given: `python -m tests.fakes.warm_guest 3`."""

from __future__ import annotations

import json
import os
import signal
import sys


def main() -> None:
    """Tell, and end; with the code `never`, wait for a signal."""
    told = {
        "arguments": sys.argv[1:],
        "environment": dict(os.environ),
        "leads": os.getpgid(0) == os.getsid(0) == os.getpid(),
    }
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stderr.write("and this to standard error\n")
    if sys.argv[1] == "never":
        signal.pause()
    raise SystemExit(int(sys.argv[1]))


if __name__ == "__main__":
    main()
