"""The card of exported models: how to use them, what they are, their data and their licence."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice

from pipelines.workspace.shards import records_of
from pipelines.workspace.source import first_manifest
from pipelines.workspace.workspace import Workspace

LICENCES_READ = 10_000
"""Records whose licence is read for the card."""


@dataclass(frozen=True)
class Facts:
    """What a card says.

    Attributes:
        model: ``kaleido`` or ``baseline``.
        licence: SPDX expression of the weights; empty if nobody has stated one.
        z_kinds: Kinds of z that the model knows.
        drawn_kinds: Those that it draws by default.
        shapes: Sizes of its pictures.
        parameters: Of prior and diffusion model.
        images_seen: Records that the diffusion model was trained on, with repetition.
        data: What they were.
    """

    model: str
    licence: str
    z_kinds: tuple[str, ...]
    drawn_kinds: tuple[str, ...]
    shapes: tuple[str, ...]
    parameters: int
    images_seen: int
    data: str


def data_facts(workspace: Workspace) -> str:
    """Describe the data of a workspace: their source and licences, no names and no paths."""
    manifest = first_manifest(workspace)
    if manifest is None:
        return "unknown: the workspace has no data any more"
    records = islice(records_of(workspace.data_shards()), LICENCES_READ)
    licences = Counter(str(record.meta.get("licence", "unknown")) for record in records)
    count = licences.total()
    shown = ", ".join(f"{name} ({number:,})" for name, number in licences.most_common(20))
    of = f"the first {count:,} records" if count == LICENCES_READ else f"{count:,} records"
    return f"`kaleido data {manifest.stage}`; licences of {of}: {shown}"


def model_card(facts: Facts) -> str:
    """Write the card, with the metadata that the hub reads."""
    kinds = ", ".join(facts.z_kinds) or "none: a baseline, which draws from the caption alone"
    drawn = ", ".join(facts.drawn_kinds) or "none"
    licence = facts.licence or "not stated: ask the owner before you use them"
    rows = {
        "model": "p(x\\|z,c) and its prior p(z\\|c)" if facts.z_kinds else "p(x\\|c)",
        "kinds of z": kinds,
        "drawn by default": drawn,
        "pictures": ", ".join(facts.shapes) + " pixels",
        "parameters": f"{facts.parameters:,}",
        "pictures seen in training, with repetition": f"{facts.images_seen:,}",
        "data": facts.data,
        "licence of the weights": licence,
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    front = [f"license: {facts.licence.lower()}"] if facts.licence else []
    front += ["library_name: diffusers", "pipeline_tag: text-to-image", "tags: [kaleido]"]
    return (
        "---\n" + "\n".join(front) + "\n---\n\n# A text-to-image model of Kaleido\n\n"
        "It draws a discrete latent z of a caption first, then the picture that z describes\n"
        "([arXiv 2405.21048](https://arxiv.org/abs/2405.21048)), so pictures of one caption "
        "differ.\n\n"
        "```python\n# pip install kaleido-diffusion\n"
        "from kaleido_diffusion import KaleidoPipeline\n\n"
        'pipe = KaleidoPipeline.from_pretrained("FOLDER OR NAME")\n'
        'images = pipe("a caption", num_images_per_prompt=16, guidance_scale=7.5).images\n'
        "```\n\n"
        "All files are safetensors and JSON; no code of this repository is run.\n\n"
        f"| fact | value |\n|---|---|\n{table}\n"
    )
