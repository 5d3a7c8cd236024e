"""The guardian: a thread that never touches Python, so that nothing which the user's code does can stop it.

For Cython alone: `guardian.pxd` has its face.
"""
