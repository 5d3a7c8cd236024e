"""What workers say of their jobs to their proxy, and what it sees of them; nothing here for Python."""
