"""Draw z of a caption without pictures, and choose a diverse subset."""
