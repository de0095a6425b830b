"""What a run is told that was not done in time. Pure."""

from __future__ import annotations

from turnkeeper_storage.model import Run, RunError

EXCEEDED_TEXT = "The run's deadline passed before this tool ran."


def exceeded(run: Run) -> RunError:
    """The error of a run with a deadline that passed; it names the time that it had, in seconds."""
    given = ""
    if run.deadline is not None and run.created_at is not None:
        # two readings of one clock, a moment apart
        seconds = round((run.deadline - run.created_at).total_seconds(), 2)
        given = f"within {seconds:,.10g} s of its acceptance"
    return RunError(
        "deadline_exceeded",
        f"the run was not done {given or 'in time'}; "
        "give it more with deadline_seconds, or see what it waited for",
    )
