"""How many connections each client address has: for the edge, without a face for Python."""
