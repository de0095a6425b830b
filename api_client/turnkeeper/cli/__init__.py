"""The command line: `turnkeeper`."""
