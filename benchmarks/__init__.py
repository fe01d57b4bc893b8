"""Peers and us in one run; each module is a command that prints a table."""
