"""What workers and proxies send back to a server; nothing here for Python."""
