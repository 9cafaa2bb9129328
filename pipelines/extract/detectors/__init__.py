"""Detectors and segmenters: from an image to boxes and masks."""
