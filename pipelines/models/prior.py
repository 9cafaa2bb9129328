"""Prior p(z|c): a T5 encoder-decoder whose decoder writes z as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

from pipelines.core.errors import KaleidoError
from pipelines.latents.grid_shape import Shape
from pipelines.latents.grounding import Grounding
from pipelines.latents.text import GRID
from pipelines.latents.vocabulary import add_special_tokens, number_ids, plain_caption
from pipelines.latents.z_grammar import MAX_DESCRIPTION_TOKENS, MAX_LABEL_TOKENS, Grammar
from pipelines.models.conditioning import EVERYWHERE, States
from pipelines.models.hub import first_line
from pipelines.models.metadata import other_version, read_facts
from pipelines.models.saved import save_with_facts, without_bars
from pipelines.workspace.settings import PriorSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


T5_TYPES = ("t5", "mt5")
"""What a config.json may call a model that is built as a T5; other relatives have other layers."""


class ZTokens(NamedTuple):
    """A batch of z, read from text on the CPU; tensors move to the model's device together.

    Attributes:
        ids: (n, length), each row ending in the end token, padded.
        mask: bool (n, length).
        places: (n, length, 4), see `States`.
        placed: bool (n, length), see `States`.
        tints: (n, length, 4), see `States`.
        names: bool (n, length), see `States`.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    places: torch.Tensor
    placed: torch.Tensor
    tints: torch.Tensor
    names: torch.Tensor


class Prior:
    """A T5 and its tokenizer, with the three things that the rest of the house asks of them.

    Args:
        model: The encoder-decoder; its vocabulary includes the special tokens of z.
        tokenizer: The matching tokenizer.
        max_caption_tokens: Longer captions are cut.
        z_kinds: The kinds it was trained on, in order.
        labels: The closed set of labels that z may use, or empty for any label.
        absent_kinds: Kinds that were asked for, but that no record of its data had.
        token_shape: Grid and codebook of its data's visual tokens; None if it knows none.
        codebook: Hash of the visual tokenizer that wrote them; empty if it knows none.
        max_label_tokens: Most tokens of a label, where any label may be used.
        max_description_tokens: Most tokens of a description.
        identity: Hash of the saved weights, tokenizer and facts; empty if it was never saved. A
            diffusion model works only with the prior that it was trained on.
    """

    def __init__(
        self,
        model: T5ForConditionalGeneration,
        tokenizer: PreTrainedTokenizerFast,
        max_caption_tokens: int,
        z_kinds: Sequence[str],
        labels: Sequence[str] = (),
        absent_kinds: Sequence[str] = (),
        token_shape: Sequence[int] | None = None,
        codebook: str = "",
        max_label_tokens: int = MAX_LABEL_TOKENS,
        max_description_tokens: int = MAX_DESCRIPTION_TOKENS,
        identity: str = "",
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.max_caption_tokens = max_caption_tokens
        self.z_kinds, self.labels = tuple(z_kinds), tuple(labels)
        self.absent_kinds, self.identity = tuple(absent_kinds), identity
        self.codebook = codebook
        self.max_label_tokens = max_label_tokens
        self.max_description_tokens = max_description_tokens
        self.token_shape = None if token_shape is None else Shape(*token_shape)
        self._grounding = Grounding(tokenizer, self.z_kinds)
        self._grammars: dict[tuple[str, ...], Grammar] = {}

    @classmethod
    def load(cls, folder: Path) -> Prior:
        """Load what `save` wrote.

        Raises:
            InputMissing: If the folder holds no prior.
            KaleidoError: If it is a prior of another version of Kaleido.
        """
        facts = read_facts(folder, "trained prior", "Run `kaleido train prior` first.")
        with without_bars():
            model = T5ForConditionalGeneration.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True
            )
        tokenizer = AutoTokenizer.from_pretrained(folder)
        try:
            return cls(model.eval(), tokenizer, **facts)
        except TypeError as error:  # facts that this version does not know
            raise other_version(folder) from error

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write a transformers folder (config, safetensors, tokenizer) and ``kaleido.json``.

        `identity` becomes that of the weights as they are written.
        """
        # The limits are noted only where they are not the usual ones: a prior of an older version
        # that is saved again must keep its identity.
        facts: dict[str, object] = {
            "max_caption_tokens": self.max_caption_tokens,
            "z_kinds": list(self.z_kinds),
            "labels": list(self.labels),
            "absent_kinds": list(self.absent_kinds),
            "token_shape": self.token_shape,
            "codebook": self.codebook,
        }
        if self.max_label_tokens != MAX_LABEL_TOKENS:
            facts["max_label_tokens"] = self.max_label_tokens
        if self.max_description_tokens != MAX_DESCRIPTION_TOKENS:
            facts["max_description_tokens"] = self.max_description_tokens
        self.identity = save_with_facts(folder, self.model, self.tokenizer, facts, dtype)

    @property
    def width(self) -> int:
        """Width of the encoder's and decoder's hidden states."""
        return int(self.model.config.d_model)

    def grammar(self, kinds: Sequence[str]) -> Grammar:
        """The grammar of a z of these kinds, as narrow as its data.

        Its automaton takes longer to make than to follow, so it is made once.
        """
        kinds = tuple(kinds)
        if kinds not in self._grammars:
            self._grammars[kinds] = Grammar(
                self.tokenizer,
                kinds,
                self.labels or None,
                self.max_label_tokens,
                self.max_description_tokens,
                self.token_shape,
            )
        return self._grammars[kinds]

    def tokenize(self, captions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokenize captions, on the CPU: ids (n, length) and bool mask (n, length)."""
        batch = self.tokenizer(
            [plain_caption(caption) for caption in captions],
            padding=True,
            truncation=True,
            max_length=self.max_caption_tokens,
            return_tensors="pt",
        )
        return batch["input_ids"], batch["attention_mask"].bool()

    def tokenize_z(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokenize z with its end token, on the CPU: ids (n, length), padded, and bool mask."""
        batch = self.tokenizer(list(texts), padding=True, return_tensors="pt")
        return batch["input_ids"], batch["attention_mask"].bool()

    def read_z(self, texts: Sequence[str]) -> ZTokens:
        """Tokenize z, and find what each token speaks of."""
        ids, mask = self.tokenize_z(texts)
        rows = ids.tolist()
        found = [self._grounding.rects(row) for row in rows]
        places = torch.tensor([[place or EVERYWHERE for place in row] for row in found])
        placed = torch.tensor([[place is not None for place in row] for row in found])
        tints = torch.tensor([self._grounding.colours(row) for row in rows])
        words = torch.tensor([self._grounding.are_words(row) for row in rows])
        return ZTokens(ids, mask, places, placed, tints, names=words & placed)

    def encode(self, captions: Sequence[str]) -> States:
        """Encoder states over captions, (n, length, width)."""
        return self.encode_ids(*self.tokenize(captions))

    def encode_ids(self, ids: torch.Tensor, mask: torch.Tensor) -> States:
        """Encoder states over what `tokenize` returns, (n, length, width)."""
        ids, mask = ids.to(self.model.device), mask.to(self.model.device)
        states = self.model.get_encoder()(input_ids=ids, attention_mask=mask.long())
        return States(states.last_hidden_state, mask)

    def z_logits(self, caption: States, z_ids: torch.Tensor) -> torch.Tensor:
        """Logits of each token of z, given those before it: (n, length, vocabulary).

        Args:
            caption: States from `encode`, n rows.
            z_ids: (n, length), each row ending in the end token.
        """
        z_ids = z_ids.to(self.model.device)
        logits: torch.Tensor = self.model(
            encoder_outputs=(caption.values,),
            attention_mask=caption.mask.long(),
            decoder_input_ids=self.model.prepare_decoder_input_ids_from_labels(z_ids),
        ).logits
        return logits

    def z_states(self, caption: States, z: ZTokens) -> States:
        """States over a whole z, as the denoiser sees it.

        The decoder's last hidden states (Kaleido, section 3) say which role a token plays; in a
        frozen prior they need not keep its value, so the token's embedding stands beside them.

        Args:
            caption: States from `encode`, n rows.
            z: From `read_z`, n rows.

        Returns:
            States of width 2 · `width`, with place, colour and name of each token.
        """
        ids, mask, *known = (part.to(self.model.device) for part in z)
        start = torch.full_like(ids[:, :1], self.model.config.decoder_start_token_id)
        hidden = self.model.get_decoder()(
            input_ids=torch.cat([start, ids], 1),
            attention_mask=torch.cat([torch.ones_like(mask[:, :1]), mask], 1).long(),
            encoder_hidden_states=caption.values,
            encoder_attention_mask=caption.mask.long(),
            use_cache=False,
        ).last_hidden_state[:, 1:]
        embedded = self.model.get_input_embeddings()(ids)
        return States(torch.cat([hidden, embedded], dim=-1), mask, *known)


def build_prior(
    settings: PriorSettings, tokenizer: PreTrainedTokenizerFast, labels: Sequence[str]
) -> Prior:
    """Make an untrained tiny T5 for a tokenizer that already has the special tokens of z.

    Args:
        settings: Sizes and kinds; ``pretrained`` is not looked at here.
        tokenizer: From `pipelines.latents.vocabulary`.
        labels: The closed set of labels, or empty.
    """
    # transformers 5.23 sizes the decoder's cache by num_layers, so both depths are equal.
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=settings.d_model,
        d_kv=settings.d_model // settings.heads,
        d_ff=settings.d_ff,
        num_layers=settings.layers,
        num_decoder_layers=settings.layers,
        num_heads=settings.heads,
        dropout_rate=settings.dropout,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    model = T5ForConditionalGeneration(config)
    with torch.no_grad():
        # transformers draws an untied output layer with deviation 1: logits of deviation √d_model
        # and a first loss of forty nats.
        model.lm_head.weight.mul_(settings.d_model**-0.5)
    _smooth_numbers(model, tokenizer)
    return Prior(model, tokenizer, settings.max_caption_tokens, settings.z_kinds, labels)


def load_pretrained(settings: PriorSettings, labels: Sequence[str]) -> Prior:
    """Take a pretrained T5, as the paper does (``google/flan-t5-xl``), and add the tokens of z.

    The encoder's blocks are frozen; decoder, embeddings and output layer learn.

    Args:
        settings: ``pretrained`` is a folder or a hub's name; ``dropout`` replaces the model's own.
        labels: The closed set of labels, or empty.

    Raises:
        KaleidoError: If it cannot be loaded, or is no T5.
    """
    try:
        with without_bars():
            tokenizer, model = _pretrained(settings)
    except Exception as error:  # transformers raises whatever its many classes raise
        raise KaleidoError(
            f"prior.pretrained = {settings.pretrained!r}",
            f"no T5 can be loaded from it ({first_line(error)}).",
            "Give a folder with config.json, model.safetensors and a tokenizer.",
        ) from error
    add_special_tokens(tokenizer, settings.z_kinds)
    if model.get_input_embeddings().num_embeddings < len(tokenizer):
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    _smooth_numbers(model, tokenizer)
    model.encoder.block.requires_grad_(False)
    return Prior(model, tokenizer, settings.max_caption_tokens, settings.z_kinds, labels)


def _pretrained(
    settings: PriorSettings,
) -> tuple[PreTrainedTokenizerFast, T5ForConditionalGeneration]:
    name = settings.pretrained
    config, _ = T5Config.get_config_dict(name)
    if config.get("model_type") not in T5_TYPES:
        raise ValueError(f"its model_type is {config.get('model_type')!r}")
    model, info = T5ForConditionalGeneration.from_pretrained(
        name,
        dtype=torch.float32,
        use_safetensors=True,
        dropout_rate=settings.dropout,
        output_loading_info=True,
    )
    if info["missing_keys"]:  # transformers would draw them anew
        raise ValueError(f"it lacks weights: {', '.join(sorted(info['missing_keys'])[:3])}")
    return AutoTokenizer.from_pretrained(name), model


@torch.no_grad()
def _smooth_numbers(model: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast) -> None:
    """Start neighbouring numbers with similar embeddings.

    A thousand unrelated tokens would each have to be seen often; with Fourier features of the
    value, what is learned of <500> holds for <501>. Frequencies rise geometrically from one
    half to 64 periods over the grid.
    """
    ids = number_ids(tokenizer)
    half = model.config.d_model // 2
    frequencies = 0.5 * 128.0 ** (torch.arange(half) / max(half - 1, 1))
    phase = 2.0 * math.pi * torch.arange(GRID + 1)[:, None] / GRID * frequencies[None]
    # Low frequencies weigh more, so similarity falls smoothly with distance.
    weight = frequencies.rsqrt()
    features = torch.cat([phase.cos() * weight, phase.sin() * weight], dim=1)
    features = features / features.pow(2).mean().sqrt()
    tables = [model.get_input_embeddings().weight]
    if not model.config.tie_word_embeddings:
        tables.append(model.lm_head.weight)
    for table in tables:
        scale = table.pow(2).mean().sqrt()
        table[ids] = features[:, : table.shape[1]] * scale
