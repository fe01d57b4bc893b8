"""The configuration: text into frozen attrs classes (`model`), with exact errors (`load`)."""
