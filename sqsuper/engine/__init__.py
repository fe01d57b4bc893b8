"""The embedded SQ engine: standard library, xxhash, `sqsuper.http1` and `sqsuper.sockets` alone."""
