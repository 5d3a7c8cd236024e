"""The workers that a balancer knows; nothing here for Python."""
