"""The grammar of request targets and hosts: for Cython only."""
