from __future__ import annotations

import pytest
import torch

from pipelines.bases.clip import CLIP_TOKENS, count_tokens, cut_into_chunks, stack
from tests.bases.test_families import PROMPTS, SEEDS, ours

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CAPTION = "a fox in snow"
LONG = f"{CAPTION}. {'a very large tree ' * 4}at the left. {'a bright sun ' * 4}above"
"""The tiny tokenizer has a token a letter: each sentence is a chunk."""


def test_chunks_end_with_sentences_where_they_can(loaded):
    tokenizer = loaded("sdxl").pipe.tokenizer
    chunks = cut_into_chunks(tokenizer, LONG)
    assert [chunk.split(" ")[0] for chunk in chunks] == ["a", "a", "a"]
    assert [chunk[-5:] for chunk in chunks] == ["snow.", "left.", "above"]
    assert " ".join(chunks) == LONG
    assert max(count_tokens(tokenizer, chunk) for chunk in chunks) <= CLIP_TOKENS


@pytest.mark.parametrize("text", ["tree " * 60, "tree, " * 60, "x" * 300, f"a. {'y' * 100}. b"])
def test_nothing_is_lost_where_no_sentence_ends(loaded, text):
    tokenizer = loaded("sdxl").pipe.tokenizer
    chunks = cut_into_chunks(tokenizer, text.strip())
    assert len(chunks) > 1
    assert "".join("".join(chunks).split()) == "".join(text.split())
    assert max(count_tokens(tokenizer, chunk) for chunk in chunks) <= CLIP_TOKENS


@pytest.mark.parametrize("name", ["sdxl", "sd15"])
class TestFamiliesWithClipAlone:
    def test_a_short_prompt_is_read_as_the_pipeline_reads_it(self, name, loaded):
        base = loaded(name)
        found = base.family.encode(base.pipe, PROMPTS)
        stock = base.pipe.encode_prompt(
            PROMPTS,
            device=torch.device("cpu"),
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
        )
        if name == "sdxl":
            assert torch.equal(found["pooled"], stock[2])
        assert torch.equal(torch.stack(found["states"]), stock[0])

    def test_a_word_of_a_later_chunk_changes_the_picture(self, name, loaded):
        base = loaded(name)
        first, second = ours(base, [LONG, LONG.replace("sun", "owl")], [11, 11])
        assert abs(first - second).max() > 1e-3
        if name == "sdxl":
            pooled = base.family.encode(base.pipe, [LONG, CAPTION + "."])["pooled"]
            assert torch.allclose(pooled[0], pooled[1], atol=1e-6)

    def test_a_picture_does_not_depend_on_longer_prompts_beside_it(self, name, loaded):
        base = loaded(name)
        together = ours(base, [CAPTION, LONG], SEEDS)
        for place, prompt in enumerate((CAPTION, LONG)):
            alone = ours(base, [prompt], SEEDS[place : place + 1])[0]
            assert abs(together[place] - alone).max() < 1e-5

    def test_the_null_condition_needs_no_padding(self, name, loaded):
        base = loaded(name)
        null = base.family.null(base.pipe, None)["states"][0]
        x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        rest = {"pooled": torch.ones(1, 32)}

        def predict(states):
            condition = {"states": [states], **rest}
            return base.family.predict(base.pipe, x, torch.tensor([500]), condition)

        with torch.no_grad():
            assert torch.allclose(predict(null), predict(null.repeat(3, 1)), atol=1e-5)

    def test_a_long_negative_prompt_is_read_to_its_end(self, name, loaded):
        base = loaded(name)
        first = ours(base, negative=LONG)
        assert abs(first - ours(base, negative=LONG.replace("sun", "owl"))).max() > 1e-4


def test_t5_reads_what_clip_does_not(loaded):
    base = loaded("sd3")
    found = base.family.encode(base.pipe, [LONG, LONG.replace("sun", "owl")])
    assert torch.equal(found["pooled"][0], found["pooled"][1])
    assert not torch.equal(found["states"][0, CLIP_TOKENS:], found["states"][1, CLIP_TOKENS:])
    assert base.family.is_long(base.pipe, LONG) and not base.family.is_long(base.pipe, CAPTION)


def test_states_of_one_length_need_no_mask():
    states = [torch.ones(2, 3), torch.zeros(2, 3)]
    assert stack(states)[1] is None
    found, mask = stack([states[0], torch.ones(4, 3)])
    assert found.shape == (2, 4, 3) and mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
