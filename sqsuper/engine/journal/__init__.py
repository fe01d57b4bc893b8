"""The engine's journal: what is acknowledged is here until a checkpoint has it in a phext file.

`writer` appends and makes durable, `recovery` reads what a crash left, `checkpoint` replaces
phext files. The format and its promises: docs/design/engine.md.
"""
