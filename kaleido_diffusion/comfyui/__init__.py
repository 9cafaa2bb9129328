"""Nodes for ComfyUI; see docs/how-to/comfyui.md. They import ComfyUI nowhere."""

from kaleido_diffusion.comfyui.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
