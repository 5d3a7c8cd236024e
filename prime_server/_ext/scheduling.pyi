"""Threads that don't push each other off the processor, while jobs are far shorter than it takes to wake a thread.

For Cython alone: `scheduling.pxd` has its face.
"""
