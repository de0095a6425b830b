"""Write deploy/env.example from the settings: `python deploy/generate_env.py`.

Names and defaults are those of the settings object, the words are those of docs/operations.md;
`tests/unit/test_deploy_env.py` checks that the file is current.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from turnkeeper_storage.settings import Settings

ROOT = Path(__file__).parents[1]
FILE = "deploy/env.example"
# what every process must be told; the rest may stay as it is
REQUIRED = {
    "TURNKEEPER_DATABASE_URL": "postgresql://turnkeeper_worker:PASSWORD@127.0.0.1:5432/turnkeeper",
    "TURNKEEPER_BROKER_URL": "redis://:PASSWORD@127.0.0.1:6379/0",
}
HEAD = """\
# Settings of Turnkeeper, for systemd's EnvironmentFile and compose's env_file.
# Written by deploy/generate_env.py: copy this file and change the copy.
#
# A line that begins with "#TURNKEEPER_" shows a default. Copies hold secrets: chmod 600, commit none.
# No quotes: compose and systemd do not agree on what they mean.
"""


def example() -> str:
    """The file."""
    told = _meanings()
    parts = [HEAD]
    for name, info in Settings.model_fields.items():
        variable = str(info.validation_alias or f"TURNKEEPER_{name.upper()}")
        lines = textwrap.wrap(told[variable], 100, break_on_hyphens=False, break_long_words=False)
        parts.append("\n".join(f"# {line}" for line in lines))
        default = "" if info.default is None else str(info.default)
        required = REQUIRED.get(variable)
        parts.append(f"{variable}={required}\n" if required else f"#{variable}={default}\n")
    return "\n".join(parts)


def _meanings() -> dict[str, str]:
    """What docs/operations.md says of each variable, as plain text."""
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [^|]*\| (.+) \|$", text.partition("\n## Migrations")[0], re.MULTILINE)
    return {name: _plain(meaning) for name, meaning in rows}


def _plain(meaning: str) -> str:
    unlinked = re.sub(r"\[([^\]]+)\]\(([^)#]+)[^)]*\)", r"\1 (docs/\2)", meaning)
    return unlinked.replace("`", "").replace(" (below)", "")


def main() -> None:
    """Write the file."""
    (ROOT / FILE).write_text(example(), encoding="utf-8")


if __name__ == "__main__":
    main()
