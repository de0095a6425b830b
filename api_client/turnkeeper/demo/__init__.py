"""`turnkeeper demo`: a support desk on real processes, one of which is killed in the middle of its work."""
