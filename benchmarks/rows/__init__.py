"""The rows of the gateway's table, by what they need to be running.

Each function takes a `Bench` and returns rows; it starts what it measures and ends it.
"""
