"""Everything at once: sessions, tools, approvals, edits and cancels at random, under faults of every kind.

`python -m tests.torture --help`; `make torture`. When the faults have stopped, the invariants of PROTOCOL §4
are checked from the database, the event streams, the model's log and the effects of the tools.
"""
