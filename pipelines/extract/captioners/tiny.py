"""A small captioner: a vision encoder and a text decoder that describe a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
)

from pipelines.extract.captioners.base import GENERATION
from pipelines.models.device import in_fp32
from pipelines.models.hub import loading_error
from pipelines.models.metadata import captioner_metadata
from pipelines.models.offline import without_network
from pipelines.models.safe_folder import require_safe_folder
from pipelines.models.saved import save_with_metadata, without_bars

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BEGIN, END, PADDING = "<s>", "</s>", "<pad>"


class Captioner:
    """A transformers `VisionEncoderDecoderModel` and its tokenizer.

    Args:
        model: A ViT encoder and a GPT-2 decoder with cross-attention.
        tokenizer: The decoder's tokenizer.
        max_tokens: Maximum length of a description in tokens.
        identity: Hash of the saved weights, tokenizer and metadata; empty if never saved.
    """

    def __init__(
        self,
        model: VisionEncoderDecoderModel,
        tokenizer: PreTrainedTokenizerFast,
        max_tokens: int,
        identity: str = "",
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.max_tokens, self.identity = max_tokens, identity

    @classmethod
    def load(cls, folder: Path) -> Captioner:
        """Load a captioner that `save` wrote.

        Raises:
            InputMissing: If the folder has no captioner.
            KaleidoError: If it is damaged.
        """
        facts = captioner_metadata(folder)
        require_safe_folder(folder)
        try:
            with without_network(str(folder)), without_bars():
                model = VisionEncoderDecoderModel.from_pretrained(
                    folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
                )
                tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            return cls(model.eval(), tokenizer, int(facts["max_tokens"]), str(facts["identity"]))
        except Exception as error:  # transformers raises many types
            raise loading_error(error, folder, "captioner", "Install Kaleido again.") from error

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write a transformers folder (config, safetensors, tokenizer) and ``kaleido.json``.

        Set `identity` to that of the saved weights.
        """
        facts = {"max_tokens": self.max_tokens, "image_size": self.image_size}
        self.identity = save_with_metadata(folder, self.model, self.tokenizer, facts, dtype)

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return int(self.model.config.encoder.image_size)

    def tokenize(self, texts: Sequence[str]) -> torch.Tensor:
        """Tokenize descriptions with start and end tokens: int64 (n, length), padded, on CPU."""
        marked = [f"{BEGIN}{text}{END}" for text in texts]
        ids: torch.Tensor = self.tokenizer(marked, padding=True, return_tensors="pt").input_ids
        return ids

    def loss(self, images: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Compute the mean next-token cross-entropy, ignoring padding.

        Args:
            images: (n, 3, image_size, image_size), in [-1, 1].
            ids: Ids from `tokenize`.
        """
        seen, following = ids[:, :-1], ids[:, 1:]
        logits = self.model(pixel_values=images, decoder_input_ids=seen).logits
        padding = self.tokenizer.pad_token_id
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), following.flatten(), ignore_index=padding
        )

    @torch.inference_mode()
    @in_fp32()
    def describe(self, images: torch.Tensor) -> list[str]:
        """Describe each image by greedy decoding.

        Args:
            images: (n, 3, image_size, image_size), in [-1, 1].

        Returns:
            n texts, truncated at `max_tokens` tokens.
        """
        ids = self.model.generate(
            pixel_values=images.to(self.model.device),
            max_new_tokens=self.max_tokens,
            **GENERATION,
        )
        rows = ids.tolist()
        return [str(self.tokenizer.decode(row, skip_special_tokens=True)).strip() for row in rows]


def build_captioner(
    texts: Iterable[str],
    image_size: int = 64,
    patch_size: int = 4,
    width: int = 128,
    layers: int = 4,
    heads: int = 4,
    max_tokens: int = 64,
) -> Captioner:
    """Create an untrained captioner.

    Args:
        texts: Descriptions from which the vocabulary is learned.
        image_size: Side of the images in pixels.
        patch_size: Side of the ViT's patches in pixels; must divide `image_size`.
        width: Hidden size of both networks.
        layers: Layers of the encoder; the decoder has half as many.
        heads: Attention heads of both networks.
        max_tokens: Maximum length of a description in tokens.
    """
    tokenizer = _train_tokenizer(texts)
    encoder = ViTConfig(
        image_size=image_size,
        patch_size=patch_size,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=width,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    decoder = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=max_tokens + 1,
        n_embd=width,
        n_layer=max(layers // 2, 1),
        n_head=heads,
        n_inner=width,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        add_cross_attention=True,
        is_decoder=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id = tokenizer.bos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    model = VisionEncoderDecoderModel(config=config)
    model.generation_config.decoder_start_token_id = tokenizer.bos_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    assert isinstance(model.decoder, GPT2LMHeadModel)
    return Captioner(model, tokenizer, max_tokens)


def _train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer, which covers any text with one token per known word."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=[PADDING, BEGIN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PADDING, bos_token=BEGIN, eos_token=END
    )
