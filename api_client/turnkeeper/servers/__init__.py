"""Real servers out of wheels, for a machine that has none running."""
