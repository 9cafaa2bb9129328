"""Drawing z from the prior, then the image from z."""
