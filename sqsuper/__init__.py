"""Supervisor and authenticating proxy for SQ, the phext database."""

__version__ = "0.1.0"
