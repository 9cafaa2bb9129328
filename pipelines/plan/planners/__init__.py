"""What draws plans of a caption: the trained prior, or a language model."""
