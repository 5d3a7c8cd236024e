"""Warnings from code that runs without the GIL: for Cython only."""
