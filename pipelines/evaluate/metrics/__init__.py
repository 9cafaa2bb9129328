"""Metrics of sets of pictures and of drawn z, with confidence intervals."""
