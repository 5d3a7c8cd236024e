"""What a server's clients send; nothing here for Python."""
