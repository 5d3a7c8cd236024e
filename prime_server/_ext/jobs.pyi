"""The jobs in a balancer; nothing here for Python."""
