"""Drawings of emoji from packages at pinned versions."""
