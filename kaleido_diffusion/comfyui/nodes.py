"""Nodes: thin classes in ComfyUI's form around `kaleido_diffusion.comfyui.functions`."""

from __future__ import annotations

from typing import Any

from kaleido_diffusion.comfyui import functions

_TEXT = ("STRING", {"multiline": True, "default": ""})
_DOCUMENT = ("STRING", {"forceInput": True})
_SIDE = ("INT", {"default": 1024, "min": 1, "max": 16384})
_SHAPE = {"width": _SIDE, "height": _SIDE}


class _Node:
    CATEGORY = "Kaleido"
    FUNCTION = "run"


class Plan(_Node):
    """Draws several z of a caption; what is connected runs once for each."""

    RETURN_TYPES = ("STRING", "STRING")
    RETURN_NAMES = ("document", "prompt")
    OUTPUT_IS_LIST = (True, True)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Describe the inputs."""
        return {
            "required": {
                "caption": _TEXT,
                "count": ("INT", {"default": 4, "min": 1, "max": 64}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**31 - 1}),
                "prompt_form": (list(functions.PROMPTS),),
            },
            "optional": {"planner": ("STRING", {"default": ""})},
        }

    def run(
        self, caption: str, count: int, seed: int, prompt_form: str, planner: str = ""
    ) -> tuple[list[str], list[str]]:
        """Return the documents, and a prompt of each."""
        documents = functions.plan(caption, count, seed, planner)
        return documents, [functions.prompt_of(each, prompt_form) for each in documents]


class Edit(_Node):
    """Changes a document."""

    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("document",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Describe the inputs."""
        return {"required": {"document": _DOCUMENT, "changes": _TEXT}}

    def run(self, document: str, changes: str) -> tuple[str]:
        """Return the changed document."""
        return (functions.edit(document, changes),)


class Prompt(_Node):
    """Writes a document as a prompt."""

    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("prompt",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Describe the inputs."""
        return {"required": {"document": _DOCUMENT, "prompt_form": (list(functions.PROMPTS),)}}

    def run(self, document: str, prompt_form: str) -> tuple[str]:
        """Return the prompt."""
        return (functions.prompt_of(document, prompt_form),)


class ToDialect(_Node):
    """Writes documents in the format of another tool."""

    RETURN_TYPES = ("STRING", "STRING")
    RETURN_NAMES = ("text", "lost")
    INPUT_IS_LIST = True
    OUTPUT_IS_LIST = (True, False)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Describe the inputs."""
        return {"required": {"document": _DOCUMENT, "dialect": (functions.dialects(),)} | _SHAPE}

    def run(
        self, document: list[str], dialect: list[str], width: list[int], height: list[int]
    ) -> tuple[list[str], str]:
        """Return the texts of the format's files, and a line for each value it cannot hold."""
        texts, lost = functions.to_dialect(document, dialect[0], width[0], height[0])
        return texts, "\n".join(lost)


class FromDialect(_Node):
    """Reads documents in the format of another tool."""

    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("document",)
    OUTPUT_IS_LIST = (True,)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Describe the inputs."""
        return {"required": {"text": _TEXT, "dialect": (functions.dialects(),)} | _SHAPE}

    def run(self, text: str, dialect: str, width: int, height: int) -> tuple[list[str]]:
        """Return the documents."""
        return (functions.from_dialect(text, dialect, width, height),)


class Diversity(_Node):
    """Measures how much the pictures of a batch differ."""

    RETURN_TYPES = ("FLOAT", "FLOAT", "STRING")
    RETURN_NAMES = ("by_colour", "by_form", "text")
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Describe the inputs."""
        return {"required": {"images": ("IMAGE",)}}

    def run(self, images: Any) -> dict[str, Any]:
        """Return the effective numbers of pictures, and show them."""
        found = functions.diversity(images.cpu().numpy())
        colour, form, count = found["histogram"], found["pixels"], len(images)
        text = f"{colour:.2f} of {count} by colour, {form:.2f} of {count} by form"
        return {"ui": {"text": [text]}, "result": (colour, form, text)}


NODE_CLASS_MAPPINGS: dict[str, type[_Node]] = {
    "KaleidoPlan": Plan,
    "KaleidoEdit": Edit,
    "KaleidoPrompt": Prompt,
    "KaleidoToDialect": ToDialect,
    "KaleidoFromDialect": FromDialect,
    "KaleidoDiversity": Diversity,
}
"""Name in a workflow's file, which never changes -> class."""

NODE_DISPLAY_NAME_MAPPINGS = {
    "KaleidoPlan": "Plan (Kaleido)",
    "KaleidoEdit": "Edit plan (Kaleido)",
    "KaleidoPrompt": "Plan to prompt (Kaleido)",
    "KaleidoToDialect": "Plan to another format (Kaleido)",
    "KaleidoFromDialect": "Plan from another format (Kaleido)",
    "KaleidoDiversity": "Diversity of pictures (Kaleido)",
}
