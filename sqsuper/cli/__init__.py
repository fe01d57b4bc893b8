"""The `sqsuper` command: what works on files alone, and what asks the running service."""
