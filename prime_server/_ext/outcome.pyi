"""What becomes of a job: its answer, its way to the next stage, or nothing where nobody waits.

For Cython alone: `outcome.pxd` has its face.
"""
