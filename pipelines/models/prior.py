"""Prior p(z|c): a T5 encoder-decoder that generates z as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn.utils.rnn import pad_sequence

from pipelines.latents.grid_shape import Shape
from pipelines.latents.grounding import Grounding
from pipelines.latents.vocabulary import plain_caption, special_tokens
from pipelines.latents.z_grammar import MAX_DESCRIPTION_TOKENS, MAX_LABEL_TOKENS, Grammar
from pipelines.models.conditioning import States
from pipelines.models.metadata import other_version
from pipelines.models.prior_metadata import changed, read_prior_metadata
from pipelines.models.safe_folder import bad_file
from pipelines.models.saved import save_with_metadata
from pipelines.models.soundness import NOTHING_LEARNED, Soundness
from pipelines.models.t5.load import load_t5
from pipelines.models.z_tokens import ZTokens, ground

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, T5ForConditionalGeneration


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
        encoder: Hash of the pretrained model whose encoder it has; empty if the encoder learned.
        soundness: How well the kinds of a z agree in the data.
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
        encoder: str = "",
        soundness: Soundness = NOTHING_LEARNED,
        identity: str = "",
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.max_caption_tokens = max_caption_tokens
        self.z_kinds, self.labels = tuple(z_kinds), tuple(labels)
        self.absent_kinds, self.identity = tuple(absent_kinds), identity
        self.codebook, self.encoder, self.soundness = codebook, encoder, soundness
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
        metadata, tied = read_prior_metadata(folder)
        model, tokenizer = load_t5(folder, weights)
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
        metadata: dict[str, object] = changed(
            {
                "max_caption_tokens": self.max_caption_tokens,
                "z_kinds": list(self.z_kinds),
                "labels": list(self.labels),
                "absent_kinds": list(self.absent_kinds),
                "token_shape": self.token_shape,
                "codebook": self.codebook,
                "max_label_tokens": self.max_label_tokens,
                "max_description_tokens": self.max_description_tokens,
                "soundness": asdict(self.soundness),
            }
        )
        if self.encoder:
            metadata["encoder"] = self.encoder
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
        return ground(*self.tokenize_z(texts), self._grounding)

    def encode(self, captions: Sequence[str]) -> States:
        """Encode captions into states (n, length, width)."""
        return self.encode_ids(*self.tokenize(captions))

    def encode_ids(self, ids: torch.Tensor, mask: torch.Tensor) -> States:
        """Encode what `tokenize` returns into states (n, length, width).

        A frozen encoder has no gradient and no dropout. On a CPU it reads caption by caption, in
        fp32: a batch gains little there, and its size would change roundings, so that states could
        not be computed once.
        """
        ids, mask = ids.to(self.model.device), mask.to(self.model.device)
        if not self.encoder_frozen:
            return States(self._read(ids, mask), mask)
        self.model.get_encoder().eval()
        with torch.no_grad():
            if ids.device.type != "cpu":
                return States(self._read(ids, mask), mask)
            rows = zip(ids.split(1), mask.sum(-1).tolist(), strict=True)
            with torch.autocast("cpu", enabled=False):
                states = [self._read(row[:, :n], torch.ones_like(row[:, :n]))[0] for row, n in rows]
        return States(pad_sequence(states, batch_first=True), mask)

    def _read(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        read = self.model.get_encoder()(input_ids=ids, attention_mask=mask.long())
        states: torch.Tensor = read.last_hidden_state
        return states

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
        self.learn_new_rows(shared)

    def learn_new_rows(self, table: torch.nn.Parameter) -> None:
        """Let only the rows of z's tokens learn, of the embeddings or the head."""
        learned = torch.zeros(len(table), 1, dtype=torch.bool)
        learned[self.tokenizer.convert_tokens_to_ids(list(special_tokens(self.z_kinds)))] = True
        table.register_hook(
            lambda gradient: torch.where(learned.to(gradient.device), gradient, 0.0)
        )

    def z_logits(
        self, caption: States, z_ids: torch.Tensor, read: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Compute logits of each token of z given those before it, (n, length, vocabulary).

        Args:
            caption: States from `encode`, n rows.
            z_ids: (n, length), each row ending in the end token.
            read: (n, length), what is read in place of the tokens before; None for themselves.
        """
        z_ids = (z_ids if read is None else read).to(self.model.device)
        logits: torch.Tensor = self.model(
            encoder_outputs=(caption.values,),
            attention_mask=caption.mask.long(),
            decoder_input_ids=self.model.prepare_decoder_input_ids_from_labels(z_ids),
            use_cache=False,
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
