"""What the strict parsers share of a message's body: for Cython only."""
