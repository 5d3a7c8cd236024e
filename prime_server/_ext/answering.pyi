"""What a server's clients are answered, and when; nothing here for Python."""
