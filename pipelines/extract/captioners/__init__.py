"""Models that describe an image, or expand its caption."""
