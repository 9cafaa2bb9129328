"""Formats of other tools, one file each, behind one protocol."""
