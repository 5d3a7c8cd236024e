"""Fuzz targets. `python -m tests.fuzz.NAME --seconds N` runs one, from the checkout; each says at its top what must hold for every input."""
