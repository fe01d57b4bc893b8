"""Backups: tenants' data in one compressed archive, verified, restored, made each day."""
