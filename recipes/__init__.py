"""Programs that make the embedded models and the figures of the documentation."""
