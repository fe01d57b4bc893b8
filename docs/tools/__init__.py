"""What of the documentation is made from the code, and what checks it: `python -m docs.tools`."""
