"""A server's bounds in all, and when to come again; nothing here for Python."""
