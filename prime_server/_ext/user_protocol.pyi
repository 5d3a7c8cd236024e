"""A protocol that a user has written in Python; `prime_server.Server` says what it is to have. Nothing here for Python."""
