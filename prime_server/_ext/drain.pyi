"""The end of a server that clients don't see: for Cython only."""
