"""The authenticating reverse proxy in front of every tenant's instance."""
