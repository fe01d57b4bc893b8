"""Owner of the tenants' processes: starts, watches, restarts and ends them."""
