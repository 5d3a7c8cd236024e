"""The public sockets of a server: for Cython only."""
