"""Prior p(z|c): a T5 encoder-decoder that generates z as text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import safe_open
from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration
from transformers.utils import logging as transformers_logging

from pipelines.latents.grid_shape import Shape
from pipelines.latents.grounding import Grounding
from pipelines.latents.text import GRID
from pipelines.latents.vocabulary import (
    add_special_tokens,
    number_ids,
    plain_caption,
    special_tokens,
)
from pipelines.latents.z_grammar import MAX_DESCRIPTION_TOKENS, MAX_LABEL_TOKENS, Grammar
from pipelines.models.conditioning import EVERYWHERE, States
from pipelines.models.hub import loading_error, model_folder
from pipelines.models.metadata import METADATA, other_version, read_metadata, require_types
from pipelines.models.offline import without_network
from pipelines.models.safe_folder import bad_file, require_safe_folder
from pipelines.models.saved import save_with_metadata, without_bars
from pipelines.workspace.settings import PriorSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


T5_TYPES = ("t5", "mt5")
"""The ``model_type`` of models that are loaded as a T5; other relatives have other layers."""


_METADATA_TYPES: dict[str, type] = {
    "max_caption_tokens": int,
    "z_kinds": list,
    "labels": list,
    "absent_kinds": list,
    "codebook": str,
    "max_label_tokens": int,
    "max_description_tokens": int,
    "identity": str,
}


class ZTokens(NamedTuple):
    """A batch of tokenized z, on the CPU until its tensors move to the model's device together.

    Attributes:
        ids: (n, length), each row ending in the end token, padded.
        mask: bool (n, length).
        rects: (n, length, 4), see `States`.
        grounded: bool (n, length), see `States`.
        colours: (n, length, 4), see `States`.
        names: bool (n, length), see `States`.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    rects: torch.Tensor
    grounded: torch.Tensor
    colours: torch.Tensor
    names: torch.Tensor


class Prior:
    """A T5 and its tokenizer: encodes captions, scores z, and computes the states of a z.

    Args:
        model: The encoder-decoder; its vocabulary includes the special tokens of z.
        tokenizer: The matching tokenizer.
        max_caption_tokens: Longer captions are cut, the end token included.
        z_kinds: The kinds it was trained on, in order.
        labels: The closed set of labels that z may use, or empty for any label.
        absent_kinds: Kinds that the settings named but no record of the data had.
        token_shape: Grid and codebook of the data's visual tokens; None if there were none.
        codebook: Hash of the visual tokenizer that produced them; empty if there were none.
        max_label_tokens: Most tokens of a label, where any label may be used.
        max_description_tokens: Most tokens of a description.
        identity: Hash of the saved weights, tokenizer and metadata; empty if it was never saved. A
            diffusion model works only with the prior that it was trained on.

    Attributes:
        encoder_frozen: Whether the encoder is kept as it is, see `freeze_encoder`.
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
        self.encoder_frozen = False
        self.max_label_tokens = max_label_tokens
        self.max_description_tokens = max_description_tokens
        self.token_shape = None if token_shape is None else Shape(*token_shape)
        self._grounding = Grounding(tokenizer, self.z_kinds)
        self._grammars: dict[tuple[str, ...], Grammar] = {}

    @classmethod
    def load(cls, folder: Path, weights: bool = True) -> Prior:
        """Load a prior that `save` wrote.

        Args:
            folder: The prior's folder.
            weights: Read the weights; without, only the shapes count (on the meta device).

        Raises:
            InputMissing: If the folder holds no prior.
            KaleidoError: If it is damaged or unsafe, or a prior of another version of Kaleido.
        """
        metadata = read_metadata(folder, "trained prior", "Run `kaleido train prior` first.")
        shape = metadata.get("token_shape")
        if shape is not None and not _is_shape(shape):
            raise bad_file(folder / METADATA, f"its 'token_shape' is {shape!r}")
        tied = metadata.pop("head_tied", None)
        scalars = {name: value for name, value in metadata.items() if name != "token_shape"}
        require_types(folder, scalars, **_METADATA_TYPES)
        model, tokenizer = _load_t5(folder, weights)
        if tied is not None and tied != model.config.tie_word_embeddings:
            raise bad_file(folder, "its head is not the one that was saved", "Train it again.")
        try:
            return cls(model.eval(), tokenizer, **metadata)
        except (TypeError, KeyError) as error:  # it lacks metadata, or tokens of z
            raise other_version(folder) from error

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write a transformers folder (config, safetensors, tokenizer) and ``kaleido.json``.

        `identity` becomes that of the weights as they are written.
        """
        # Defaults are left out: a prior of an older version that is saved again must keep
        # its identity.
        metadata: dict[str, object] = {
            "max_caption_tokens": self.max_caption_tokens,
            "z_kinds": list(self.z_kinds),
            "labels": list(self.labels),
            "absent_kinds": list(self.absent_kinds),
            "token_shape": self.token_shape,
            "codebook": self.codebook,
        }
        if self.max_label_tokens != MAX_LABEL_TOKENS:
            metadata["max_label_tokens"] = self.max_label_tokens
        if self.max_description_tokens != MAX_DESCRIPTION_TOKENS:
            metadata["max_description_tokens"] = self.max_description_tokens
        if not self.model.config.tie_word_embeddings:
            metadata["head_tied"] = False
        self.identity = save_with_metadata(folder, self.model, self.tokenizer, metadata, dtype)

    @property
    def width(self) -> int:
        """Width of the hidden states of encoder and decoder."""
        return int(self.model.config.d_model)

    def grammar(self, kinds: Sequence[str]) -> Grammar:
        """Return the grammar of a z of these kinds, restricted to the labels and sizes of the data.

        Building its automaton takes longer than using it, so it is kept.
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

    def unread_part(self, caption: str) -> str:
        """Return the end of a caption that `tokenize` cuts off, or "" if it reads all of it."""
        text = plain_caption(caption)
        batch = self.tokenizer(text, return_offsets_mapping=True, truncation=False)
        if len(batch["input_ids"]) <= self.max_caption_tokens:
            return ""
        start, _ = batch["offset_mapping"][self.max_caption_tokens - 1]  # the end token is kept
        return text[start:].strip()

    def tokenize_z(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokenize z with its end token, on the CPU: ids (n, length), padded, and bool mask."""
        batch = self.tokenizer(list(texts), padding=True, return_tensors="pt")
        return batch["input_ids"], batch["attention_mask"].bool()

    def read_z(self, texts: Sequence[str]) -> ZTokens:
        """Tokenize z, and find the region and the colour that each token refers to."""
        ids, mask = self.tokenize_z(texts)
        rows = ids.tolist()
        found = [self._grounding.rects(row) for row in rows]
        rects = torch.tensor([[rect or EVERYWHERE for rect in row] for row in found])
        grounded = torch.tensor([[rect is not None for rect in row] for row in found])
        colours = torch.tensor([self._grounding.colours(row) for row in rows])
        words = torch.tensor([self._grounding.are_words(row) for row in rows])
        return ZTokens(ids, mask, rects, grounded, colours, names=words & grounded)

    def encode(self, captions: Sequence[str]) -> States:
        """Encode captions into states (n, length, width)."""
        return self.encode_ids(*self.tokenize(captions))

    def encode_ids(self, ids: torch.Tensor, mask: torch.Tensor) -> States:
        """Encode what `tokenize` returns into states (n, length, width).

        A frozen encoder has no gradient and no dropout.
        """
        ids, mask = ids.to(self.model.device), mask.to(self.model.device)
        encoder = self.model.get_encoder()
        if self.encoder_frozen:
            encoder.eval()
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.encoder_frozen):
            states = encoder(input_ids=ids, attention_mask=mask.long())
        return States(states.last_hidden_state, mask)

    def freeze_encoder(self) -> None:
        """Keep the states of captions as they are, whatever else is trained.

        Encoder and decoder share the embeddings, so only rows that no caption contains are left
        to learn: those of the tokens of z.
        """
        self.encoder_frozen = True
        shared = self.model.shared.weight
        for parameter in self.model.encoder.parameters():
            if parameter is not shared:
                parameter.requires_grad_(False)
        learned = torch.zeros(len(shared), 1, dtype=torch.bool)
        learned[self.tokenizer.convert_tokens_to_ids(list(special_tokens(self.z_kinds)))] = True
        shared.register_hook(
            lambda gradient: torch.where(learned.to(gradient.device), gradient, 0.0)
        )

    def z_logits(self, caption: States, z_ids: torch.Tensor) -> torch.Tensor:
        """Compute logits of each token of z given those before it, (n, length, vocabulary).

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
        """Compute the states of a whole z, as the denoiser reads it.

        The decoder's last hidden states (Kaleido, section 3) encode the role of a token; in a
        frozen prior they need not keep its value, so the token's embedding is appended.

        Args:
            caption: States from `encode`, n rows.
            z: From `read_z`, n rows.

        Returns:
            States of width 2 · `width`, with rectangle, colour and name of each token.
        """
        ids, mask, *grounding = (part.to(self.model.device) for part in z)
        start = torch.full_like(ids[:, :1], self.model.config.decoder_start_token_id)
        hidden = self.model.get_decoder()(
            input_ids=torch.cat([start, ids], 1),
            attention_mask=torch.cat([torch.ones_like(mask[:, :1]), mask], 1).long(),
            encoder_hidden_states=caption.values,
            encoder_attention_mask=caption.mask.long(),
            use_cache=False,
        ).last_hidden_state[:, 1:]
        embedded = self.model.get_input_embeddings()(ids)
        return States(torch.cat([hidden, embedded], dim=-1), mask, *grounding)


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and [type(item) for item in value] == [int] * len(Shape._fields)


def build_prior(
    settings: PriorSettings, tokenizer: PreTrainedTokenizerFast, labels: Sequence[str]
) -> Prior:
    """Build an untrained tiny T5 for a tokenizer that already has the special tokens of z.

    Args:
        settings: Sizes and kinds; ``pretrained`` is not used here.
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
        tie_word_embeddings=False,  # to transformers 5: tied, but the output is not scaled
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    model = T5ForConditionalGeneration(config)
    with torch.no_grad():
        # transformers initialises the embeddings, which are also the head, with deviation 1:
        # logits of deviation √d_model and a first loss of forty nats.
        model.shared.weight.mul_(settings.d_model**-0.5)
    _smooth_numbers(model, number_ids(tokenizer))
    return Prior(model, tokenizer, settings.max_caption_tokens, settings.z_kinds, labels)


def load_pretrained(settings: PriorSettings, labels: Sequence[str], weights: bool = True) -> Prior:
    """Load a pretrained T5, as the paper does (``google/flan-t5-xl``), and add the tokens of z.

    The checkpoint's head is kept: T5 1.1, flan-T5 and mT5 have one of their own, T5 1.0 uses its
    embeddings. The vocabulary grows by the tokens of z, if the checkpoint lacks them.

    The encoder is frozen, so the states of captions stay those of the checkpoint. It shares its
    embeddings with the decoder; of these (and of a tied head) only the rows of z's own tokens are
    trained, which no caption contains. Decoder blocks and an untied head are trained entirely.

    Args:
        settings: ``pretrained`` is a folder or a hub's name; ``dropout`` replaces the model's own.
        labels: The closed set of labels, or empty.
        weights: See `Prior.load`.

    Raises:
        KaleidoError: If there is no such model, or it is no T5 or damaged.
    """
    folder = model_folder(settings.pretrained)
    model, tokenizer = _load_t5(folder, weights, dropout_rate=settings.dropout)
    known = len(tokenizer)
    add_special_tokens(tokenizer, settings.z_kinds)
    _grow(model, known, len(tokenizer))
    numbers = number_ids(tokenizer)
    if min(numbers) >= known:  # a prior of ours has learned them
        _smooth_numbers(model, numbers)
    prior = Prior(model, tokenizer, settings.max_caption_tokens, settings.z_kinds, labels)
    prior.freeze_encoder()
    return prior


def _load_t5(
    folder: Path, weights: bool = True, **changes: object
) -> tuple[T5ForConditionalGeneration, PreTrainedTokenizerFast]:
    """Load a T5 in fp32, with the head that its weights have, and its tokenizer.

    transformers 5 sets ``tie_word_embeddings`` for every T5. It leaves a head alone that differs
    from the embeddings, but ties it as soon as the vocabulary grows, unless the configuration says
    otherwise; so the configuration of an untied model is corrected here.

    Args:
        folder: Holds config.json, safetensors and a tokenizer.
        weights: See `Prior.load`.
        changes: Values of the configuration to override.

    Raises:
        KaleidoError: If it is no T5, damaged or unsafe, or lacks weights.
    """
    require_safe_folder(folder)
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        values, _ = T5Config.get_config_dict(folder, local_files_only=True)
        if values.get("model_type") not in T5_TYPES:
            raise ValueError(f"its model_type is {values.get('model_type')!r}")
        with without_network(str(folder)), without_bars(), _only_errors():
            config = T5Config.from_dict(values | {"model_type": "t5"} | changes)
            tokenizer = AutoTokenizer.from_pretrained(folder, **local)
            if not weights:
                return _shapes_of_t5(folder, config), tokenizer
            model, info = T5ForConditionalGeneration.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
                **local,
            )
        if info["missing_keys"]:  # transformers would initialise them at random
            raise ValueError(f"it lacks weights: {', '.join(sorted(info['missing_keys'])[:3])}")
    except Exception as error:  # transformers raises whatever its many classes raise
        needs = "Give a folder with config.json, model.safetensors and a tokenizer."
        raise loading_error(error, folder, "T5", needs) from error
    model.config.tie_word_embeddings = model.lm_head.weight is model.shared.weight
    return model, tokenizer


def _shapes_of_t5(folder: Path, config: T5Config) -> T5ForConditionalGeneration:
    """Build a T5 as its folder describes it. Names of weights tell whether its head is tied."""
    names: set[str] = set()
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            names.update(weights.keys())
    model = T5ForConditionalGeneration(config)
    tied = "lm_head.weight" not in names if names else bool(config.tie_word_embeddings)
    head = model.shared.weight if tied else torch.empty_like(model.shared.weight)
    model.lm_head.weight = head if tied else torch.nn.Parameter(head)
    model.config.tie_word_embeddings = tied
    return model


@contextmanager
def _only_errors() -> Iterator[None]:
    """Keep transformers from warning about heads that are not tied, which is as it should be."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)


def _tables(model: T5ForConditionalGeneration) -> list[torch.nn.Parameter]:
    """The matrices with a row for each token: the embeddings, and the head if it is not tied."""
    shared, head = model.shared.weight, model.lm_head.weight
    return [shared] if head is shared else [shared, head]


@torch.no_grad()
def _grow(model: T5ForConditionalGeneration, known: int, size: int) -> None:
    """Make room for new tokens, whose rows are drawn like those of the known ones.

    The rows of a random known token give logits that a pretrained decoder keeps in their place;
    rows around zero would get most of the probability, where the mean logit is well below it
    (Hewitt, "Initializing new word embeddings for pretrained language models", 2021).

    Args:
        model: It is changed. Checkpoints have more rows than their tokenizers have tokens: what
            was never a token has no meaning, and is drawn anew as well.
        known: Tokens that the checkpoint knows; their rows stay.
        size: Tokens in all.
    """
    if model.config.vocab_size < size:
        model.resize_token_embeddings(size, mean_resizing=False)
    for table in _tables(model):
        spread, mean = torch.std_mean(table[:known], 0)
        table[known:size] = mean + spread * torch.randn_like(table[known:size])


@torch.no_grad()
def _smooth_numbers(model: T5ForConditionalGeneration, ids: Sequence[int]) -> None:
    """Initialise neighbouring numbers with similar rows, in the embeddings and in the head.

    A thousand unrelated tokens would each have to be seen often; with Fourier features of the
    value, what is learned about <500> holds for <501>. Frequencies rise geometrically from one
    half to 64 periods over the grid.

    Args:
        model: It is changed.
        ids: Tokens of the numbers in ascending order.
    """
    half = model.config.d_model // 2
    frequencies = 0.5 * 128.0 ** (torch.arange(half) / max(half - 1, 1))
    phase = 2.0 * math.pi * torch.arange(GRID + 1)[:, None] / GRID * frequencies[None]
    # Low frequencies weigh more, so similarity falls smoothly with distance.
    weight = frequencies.rsqrt()
    features = torch.cat([phase.cos() * weight, phase.sin() * weight], dim=1)
    features = features - features.mean(0)  # no number is likelier than another token at first
    features = features / features.pow(2).mean().sqrt()
    for table in _tables(model):
        spread, mean = torch.std_mean(table, 0)
        table[ids] = mean + spread * features[:, : table.shape[1]]
