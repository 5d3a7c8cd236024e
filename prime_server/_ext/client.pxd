"""A client's connections, and the requests and responses under way on them."""
