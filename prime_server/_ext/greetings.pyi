"""Who has been told that this proxy speaks our extension; nothing here for Python."""
