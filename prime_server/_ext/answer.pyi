"""What the edge itself writes to HTTP clients: for Cython only."""
