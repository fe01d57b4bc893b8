"""The admin listener: the admin API, and what else is served there."""
