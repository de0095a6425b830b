"""`turnkeeper chat`: a conversation in the terminal.

The parts: `main` (the loop over messages), `talk` (one run: its events, its approvals, its end), `asking`
(what a person is asked about an approval), `calls` (tool calls and their outputs), `screen` (what is shown),
`lines` (where lines come from).
"""
