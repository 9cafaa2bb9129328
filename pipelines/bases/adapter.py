"""An adapter: the trained part beside a base, through which it reads z."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from safetensors.torch import load_file, save_file
from torch import nn

from pipelines.bases.adapter_hooks import Attachment, is_attached
from pipelines.bases.adapter_lora import LORA_FILE, insert_lora, remove_lora
from pipelines.bases.conditions import join, take
from pipelines.bases.family import Condition, Family, repeat
from pipelines.bases.registry import FAMILIES, family_of
from pipelines.core.errors import KaleidoError
from pipelines.documents.document import Document
from pipelines.documents.problems import require_valid
from pipelines.documents.projection import z_of
from pipelines.documents.reading import check_document
from pipelines.latents.grounding import Grounding
from pipelines.latents.sequence import z_to_text
from pipelines.models.adapter import ZBranch, ZReader, ZRows
from pipelines.models.hub import model_folder, read_config
from pipelines.models.safe_folder import require_safe_folder
from pipelines.models.z_tokens import ZTokens, ground

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


PARTS = ("z", "z_mask", "z_rects")
"""What `ZRows` are called in a condition."""


class KaleidoAdapter(ModelMixin, ConfigMixin):
    """Reads z, and adds what it says to the image tokens of a base.

    It stands beside the base, whose classes and weights stay as they are: `attach` lets the
    denoiser's blocks call it, `detach` ends that. Untrained, it changes nothing.

    Args:
        family: Name of the base's family.
        block_names: Blocks of the denoiser that read z.
        block_widths: Channels of each one's image tokens.
        z_kinds: Kinds of z that it was trained on, in order.
        vocab_size: Entries of the vocabulary of z.
        width: Width of the tokens of z.
        layers: Layers in which these see each other.
        heads: Attention heads of these layers, and of the blocks' attention to z.
        inner: Width of the attention to z.
        base: Name of the base that it was trained with.
        z_noise: Whether it is told how much noise z has.

    Attributes:
        tokenizer: Writes z as tokens; set by `of_base` and `from_pretrained`.
        lora: Low-rank adapters that belong to it, see `lora_state`; empty if there are none.
        identity: Hash of the saved files, where `load_base` loaded it.
    """

    tokenizer: PreTrainedTokenizerFast

    @register_to_config
    def __init__(
        self,
        family: str = "",
        block_names: Sequence[str] = (),
        block_widths: Sequence[int] = (),
        z_kinds: Sequence[str] = (),
        vocab_size: int = 2048,
        width: int = 256,
        layers: int = 2,
        heads: int = 4,
        inner: int = 256,
        base: str = "",
        z_noise: bool = False,
    ) -> None:
        super().__init__()
        self.reader = ZReader(vocab_size, width, layers, heads, z_noise)
        self.branches = nn.ModuleList(
            ZBranch(channels, width, inner, heads) for channels in block_widths
        )
        self.lora: dict[str, torch.Tensor] = {}
        self.identity = ""
        self._attachment: Attachment | None = None
        self._grounding: Grounding | None = None

    @classmethod
    def of_base(
        cls,
        family: Family,
        denoiser: Any,
        tokenizer: PreTrainedTokenizerFast,
        z_kinds: Sequence[str],
        every: int = 2,
        **options: Any,
    ) -> Self:
        """Make an untrained adapter for a base.

        Args:
            family: The base's family.
            denoiser: Its denoiser; it may be on the meta device.
            tokenizer: The vocabulary of z.
            z_kinds: Kinds of z, in order.
            every: z is read in each block whose number is a multiple of it.
            options: Other arguments of the class.
        """
        blocks = family.blocks(denoiser)[::every]
        adapter = cls(
            family=family.name,
            block_names=[block.name for block in blocks],
            block_widths=[block.width for block in blocks],
            z_kinds=list(z_kinds),
            vocab_size=len(tokenizer),
            **options,
        )
        adapter.tokenizer = tokenizer
        return adapter

    def save_pretrained(self, save_directory: Any, **options: Any) -> None:
        """Write configuration, safetensors, tokenizer, and low-rank adapters if it has them."""
        super().save_pretrained(save_directory, **options)
        self.tokenizer.save_pretrained(save_directory)
        if self.lora:
            save_file(self.lora, Path(save_directory) / LORA_FILE)

    @classmethod
    def from_pretrained(cls, name: Any, **options: Any) -> Any:
        """Load an adapter from a folder, or from the hub: safetensors and JSON alone.

        Args:
            name: The folder, or the name on the hub.
            options: As those of `ModelMixin.from_pretrained`.

        Raises:
            KaleidoError: If there is none, or its files are unsafe.
        """
        from transformers import PreTrainedTokenizerFast

        folder = model_folder(str(name))
        require_safe_folder(folder)
        options = {"use_safetensors": True, "local_files_only": True} | options
        found = super().from_pretrained(folder, **options)
        adapter = found[0] if isinstance(found, tuple) else found
        adapter.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        if (folder / LORA_FILE).is_file():
            adapter.lora = load_file(folder / LORA_FILE)
        return found

    @property
    def _family(self) -> Family:
        return next(family for family in FAMILIES if family.name == self.config.family)

    def tokenize(self, texts: Sequence[str]) -> ZTokens:
        """Tokenize z, on the CPU, and find the region and the colour that each token refers to."""
        if self._grounding is None:
            self._grounding = Grounding(self.tokenizer, self.config.z_kinds)
        batch = self.tokenizer(list(texts), padding=True, return_tensors="pt")
        return ground(batch["input_ids"], batch["attention_mask"].bool(), self._grounding)

    def read(self, z: ZTokens, drop: torch.Tensor | None = None) -> Condition:
        """Read z as a part of a base's condition; rows of `drop` are those of null."""
        rows = self.reader(ZTokens(*(part.to(self.device) for part in z)), drop)
        return _condition(rows)

    def null(self) -> Condition:
        """Return the part of the null condition, one row."""
        return _condition(self.reader.null(1))

    def attach(self, pipe: Any) -> Self:
        """Let a pipeline's denoiser call the adapter, which moves to its device.

        Unless it is being trained, the adapter attends in the denoiser's precision.

        Args:
            pipe: A pipeline of diffusers, of the family for which the adapter was trained.

        Raises:
            KaleidoError: If the pipeline is of another family, has other sizes, or has an adapter.
        """
        name = type(pipe).__name__
        family = family_of(name, name)
        denoiser = getattr(pipe, family.denoiser)
        if getattr(denoiser, "is_cache_enabled", False):
            why = "a cache that skips blocks is enabled, and would skip z with them."
            hint = "Call disable_cache, attach the adapter, then enable_cache."
            raise KaleidoError("the adapter", why, hint, code="bad-option")
        if is_attached(denoiser) or self._attachment is not None:
            why = "one is attached to it already, or this one to another pipeline."
            raise KaleidoError(name, why, "Call detach on it first.", code="bad-option")
        if not fits(self.config, family, denoiser):
            raise KaleidoError(
                f"the adapter for {self.config.base or self._family.title}",
                f"this {name} has other blocks.",
                "Use it with the base that it was trained with, or a finetuned one of its sizes.",
                code="model-mismatch",
            )
        self.to(pipe._execution_device)
        if not self.training:
            self.branches.to(denoiser.dtype)
        branches = dict(zip(self.config.block_names, self.branches, strict=True))
        if self.lora:
            insert_lora(family, denoiser, self.lora)
        self._attachment = Attachment(family, denoiser, branches)
        return self

    def detach(self) -> None:
        """Leave the denoiser as it was."""
        if self._attachment is not None:
            self._attachment.remove()
            if self.lora:
                remove_lora(self._attachment.denoiser)
        self._attachment = None

    def show_rows(self, condition: Condition, sides: tuple[int, int]) -> None:
        """Let the next calls of the denoiser read the rows of a condition; without z, nothing.

        Args:
            condition: The rows.
            sides: Height and width of the pictures, in any unit.
        """
        assert self._attachment is not None
        self._attachment.show(_rows(condition) if "z" in condition else None, sides)

    @torch.no_grad()
    def show(self, z: Sequence[str | Document]) -> None:
        """Let the pipeline that it is attached to draw z.

        Where the pipeline guides, the rows of its null condition read that of z.

        Args:
            z: One per picture: a z document, as `Document` or JSON, or the text of z.

        Raises:
            KaleidoError: If one holds none of the kinds that the adapter was trained on, or the
                adapter is attached to no pipeline.
        """
        if self._attachment is None:
            hint = "Call adapter.attach(pipe) first."
            raise KaleidoError("z", "the adapter is attached to no pipeline.", hint)
        rows = self.read(self.tokenize([z_text_of(each, self.config.z_kinds) for each in z]))
        both = join([rows, repeat(self.null(), len(z))])
        of_z, of_null = range(len(z)), range(len(z), 2 * len(z))
        self._attachment.give(_rows(take(both, of_z)), _rows(take(both, of_null)))


def _condition(rows: ZRows) -> Condition:
    return dict(zip(PARTS, rows, strict=True))


def _rows(condition: Condition) -> ZRows:
    return ZRows(*(condition[name] for name in PARTS))


def adapter_config(name: str) -> dict[str, Any]:
    """Read the configuration of an adapter.

    Args:
        name: Its folder, or its name on the hub.

    Raises:
        KaleidoError: If there is none, or it is a model of another kind.
    """
    config = read_config(model_folder(name), "an adapter")
    kind = config.get("_class_name")
    if kind != KaleidoAdapter.__name__:
        hint = "Name a folder that `kaleido train adapter` wrote, such as models/adapter."
        raise KaleidoError(name, f"it is no adapter but a {kind}.", hint, code="bad-option")
    return config


def fits(config: Mapping[str, Any], family: Family, denoiser: Any) -> bool:
    """Whether the configuration of an adapter is one for a denoiser; it may be on meta."""
    found = {block.name: block.width for block in family.blocks(denoiser)}
    wanted = dict(zip(config["block_names"], config["block_widths"], strict=True))
    return family.name == config["family"] and not wanted.items() - found.items()


def z_text_of(z: str | Document, kinds: Sequence[str]) -> str:
    """Return the text of a z, of the kinds that are known.

    Args:
        z: A document, its JSON, or the text itself.
        kinds: Kinds in order.

    Raises:
        InvalidDocument: If the JSON breaks a rule.
        KaleidoError: If a document holds none of the kinds.
    """
    if isinstance(z, str):
        if not z.lstrip().startswith("{"):
            return z
        document, problems = check_document(z.encode())
        require_valid("z", problems)
        assert document is not None  # there is none only where there are errors
        z = document
    latents, _ = z_of(z, kinds)
    if not latents:
        raise KaleidoError(
            z.key or "z",
            f"the document holds none of the kinds that the adapter reads: {', '.join(kinds)}.",
            "Add elements with boxes, a description or a palette.",
            code="bad-data",
        )
    return z_to_text(latents)
