"""The messages that a balancer sends; nothing here for Python."""
