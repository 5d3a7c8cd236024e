"""The netstring parser: for Cython only. `prime_server._ext.parsers` is its Python face."""
