"""Saving a trained adapter: weights, metadata and a card that says what it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import ModelCardData

from pipelines.bases.base import Base
from pipelines.bases.folder import BaseFolder
from pipelines.core.files import atomic_write, replacing_folder
from pipelines.models.metadata import write_metadata
from pipelines.models.safe_folder import require_weights
from pipelines.models.shapes import Shape, write_shape

SHOWN_LABELS = 50
"""Labels that a card lists."""


@dataclass(frozen=True)
class AdapterFacts:
    """What an adapter was trained on.

    Attributes:
        records: Pictures in an epoch.
        images_seen: Pictures seen in all.
        labels: Labels of the data.
        shapes: Shapes of the pictures.
    """

    records: int
    images_seen: int
    labels: Sequence[str]
    shapes: Sequence[Shape]


def public_name(folder: BaseFolder) -> str:
    """Return a base's name, of a folder the last part: a model must not name local folders."""
    local = Path(folder.name)
    return local.resolve().name if local.is_dir() else folder.name


def save_adapter(place: Path, base: Base, facts: AdapterFacts) -> None:
    """Write an adapter that is attached to its base.

    Args:
        place: Replaced as a whole.
        base: The base with the adapter.
        facts: What it was trained on.
    """
    adapter = base.adapter
    assert adapter is not None
    metadata = {
        "base": public_name(base.folder),
        "base_identity": base.folder.identity,
        "family": base.family.name,
        "z_kinds": list(adapter.config.z_kinds),
        "lora": bool(adapter.lora),
        "records": facts.records,
        "images_seen": facts.images_seen,
        "shapes": [write_shape(shape) for shape in facts.shapes],
    }
    with replacing_folder(place) as fresh:
        adapter.save_pretrained(fresh)
        atomic_write(fresh / "README.md", write_card(base, facts).encode())
        write_metadata(fresh, metadata)
        require_weights(fresh)


def write_card(base: Base, facts: AdapterFacts) -> str:
    """Write the card of an adapter."""
    adapter, folder = base.adapter, base.folder
    assert adapter is not None
    name = public_name(folder)
    about = ModelCardData(
        library_name="diffusers",
        pipeline_tag="text-to-image",
        tags=["kaleido", "adapter"],
        base_model=None if Path(folder.name).is_dir() else name,
        base_model_relation="adapter",
        license=folder.licence or None,
    )
    labels = ", ".join(facts.labels[:SHOWN_LABELS]) or "none"
    if len(facts.labels) > SHOWN_LABELS:
        labels += f" and {len(facts.labels) - SHOWN_LABELS:,} more"
    return _CARD.format(
        about=about.to_yaml(),
        name=name,
        family=base.family.title,
        kinds=", ".join(adapter.config.z_kinds),
        count=sum(value.numel() for value in adapter.parameters()),
        blocks=len(adapter.branches),
        lora=" Low-rank adapters (LoRA) on its attention are a part." * bool(adapter.lora),
        licence=folder.licence or base.family.licence,
        records=facts.records,
        shapes=", ".join(map(write_shape, facts.shapes)),
        seen=facts.images_seen,
        labels=labels,
    )


_CARD = """---
{about}
---

# Kaleido adapter for {name}

With it {family} draws from z: {kinds}. Pictures of one caption become
diverse, as each is drawn from another z. {count:,} parameters read z and attend to it in {blocks}
of the base's blocks; its own weights and classes stay.{lora}

- Base: {name}. Its licence ({licence}) holds for what is drawn with it.
- Data: {records:,} pictures, trained at {shapes}; {seen:,} pictures seen.
- Labels: {labels}.

```python
# pip install kaleido-diffusion
from kaleido_diffusion import KaleidoAdapter

adapter = KaleidoAdapter.from_pretrained("this folder, or its name on the hub").attach(pipe)
adapter.show([z])  # one z for each picture: a z document, or its text
pictures = pipe(prompt="a caption").images
```

`pipe` is the base's pipeline of diffusers; `adapter.detach()` leaves it as it was. Kaleido draws z:
`kaleido plan`, or `kaleido sample --base BASE --adapter FOLDER`, which does all of it.
"""
