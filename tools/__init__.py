"""What `make` runs to check and release the project; no part of the distribution."""
