"""The model behind a Protocol: the request, the answer, the client and what is worth a second try."""
