"""A server's connections and the requests that they wait for: for Cython only."""
