"""Reload: another configuration while the service runs."""
