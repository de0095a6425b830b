"""`turnkeeper dev`: everything that agents need, on one machine, with no server to install.

The parts: `place` (the folder, its lock, what other commands find there), `stage` (what is used: database,
broker, model), `parts` (a child process in words), `child` (what runs in it), `processes` (one child),
`supervisor` (keeps all of them alive), `watching` (changes of the code), `console` (what is shown), `main`.
"""
