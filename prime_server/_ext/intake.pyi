"""What a worker holds, and what it tells the others: everything that its work thread and its guardian share, under one lock.

For Cython alone: `intake.pxd` has its face.
"""
