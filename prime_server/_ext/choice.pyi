"""Asking a function of the user's which idle worker a job goes to; nothing here for Python."""
