"""The native halves of the demonstration's stages, as capsules for `NativeWork`."""

NOT_PRIME: bytes
"""What is answered for a number that isn't prime, as the original does it: 2^64 - 1."""
MAX_DIGITS: int
PARSE: object
"""Reads the request and forwards its number's decimal digits."""
COMPUTE: object
"""Answers the digits it is given if they are a prime; numbers of 2^64 and more it leaves to Python."""
WORK: object
"""Both in one; requests with numbers of 2^64 and more it leaves to Python, after they have been found to be right."""
ECHO: object
"""Answers with the request's body, or with its target where there is no body."""
