"""An answer that leaves in several messages, at its reader's pace; nothing here for Python."""
