"""The queue of bytes that a connection has still to send: for Cython only."""
