"""Answers in parts, sent while an iterator gives them: for Cython only."""
