"""Recipes that train the embedded models and make the figures of the documentation."""
