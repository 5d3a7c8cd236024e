"""Whether numbers of 2^64 and more are prime: the part that `is_prime` and its kin leave to GMP."""

WITHOUT_GIL: bool
"""Whether GMP's own functions are called, with the GIL released; else it is gmpy2's, which hold it."""
