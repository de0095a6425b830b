"""The version of this release, stated here only: the package, the command line and the API read it."""

__version__ = "0.1.0"
