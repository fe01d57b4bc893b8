"""The status page on the admin listener, and the stream of events that keeps it fresh."""
