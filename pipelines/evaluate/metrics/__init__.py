"""Metrics of sets of pictures and of drawn z, with their intervals."""
