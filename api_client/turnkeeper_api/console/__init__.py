"""The console: pages for people, served by the API process under `/console`.

The parts: `gate` (who comes in, and what a change must bring), `frame` (pages and their headers), one module
of routes for each group of pages, and what they show as pure functions: `words`, `fields`, `changes`,
`timeline`, `conversation`.
"""
