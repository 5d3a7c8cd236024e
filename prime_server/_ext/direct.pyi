"""Small messages between a hub and a worker process that was started with it; nothing here for Python."""
