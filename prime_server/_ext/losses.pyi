"""Workers that are lost, and what becomes of their jobs; nothing here for Python."""
