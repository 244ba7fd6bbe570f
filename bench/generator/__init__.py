"""The loops of the load generator that are too much for Python, in C."""
