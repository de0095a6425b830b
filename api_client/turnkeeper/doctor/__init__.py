"""`turnkeeper doctor`: is everything there that an installation needs, and does it move."""
