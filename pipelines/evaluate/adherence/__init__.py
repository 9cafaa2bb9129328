"""Measure how well a picture follows its z, for each kind of latent."""
