"""The compiled layers; `.pxd` is their face for Cython, `.pyi` for Python."""
