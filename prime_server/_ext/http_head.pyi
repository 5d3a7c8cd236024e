"""What the strict parsers share of a message's head: for Cython only."""
