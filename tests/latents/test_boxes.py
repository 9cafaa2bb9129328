"""Boxes: edits. Text and bytes are in test_items.py."""

from __future__ import annotations

from pipelines.latents.boxes import Box, Boxes

CIRCLE = Box("circle", 120, 330, 410, 620)
STAR = Box("star", 500, 500, 600, 700)
BOXES = Boxes((CIRCLE, STAR))
