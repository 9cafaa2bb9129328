"""Procedural captioned scenes whose joint distribution is known in closed form."""
