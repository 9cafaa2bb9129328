"""Formats of other tools, one module per format, behind one protocol."""
