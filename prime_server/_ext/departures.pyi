"""When workers that are told to end may leave: for Cython only."""
