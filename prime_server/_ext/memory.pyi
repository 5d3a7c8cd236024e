"""Memory given back to the system after a flood; nothing here for Python."""
