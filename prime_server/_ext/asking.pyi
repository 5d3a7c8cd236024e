"""What a server asks of the first stage, and asks again; nothing here for Python."""
