"""What `sqsuper doctor` looks at. Nothing is changed; nothing but loopback ports is bound."""
