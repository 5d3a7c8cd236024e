"""The jobs of one proxy, in line or with a worker, and how each ends; nothing here for Python."""
