from __future__ import annotations

import json
from itertools import pairwise

import pytest

from pipelines.bases.base import load_base
from pipelines.bases.prompt import json_prompt, write_prompt
from pipelines.documents.document import Document, Style, Swatch
from pipelines.documents.element import Element, Ellipse
from tests.bases.tiny_pipelines import AVAILABLE

FOX = Document(
    caption="a fox",
    elements=(
        Element(id="a", label="fox", box=(0.0, 0.7, 0.2, 0.95)),
        Element(id="b", label="tree " * 20, box=(0.5, 0.0, 1.0, 1.0)),
        Element(id="c", label="sun", box=(0.0, 0.0, 0.1, 0.1)),
    ),
)


def test_words_that_fit_are_all_said(loaded):
    prompt = write_prompt(loaded("z-image"), FOX)
    assert prompt.text.startswith("a fox. small fox at the bottom left. large tree tree")
    assert (prompt.unsaid, prompt.is_cut) == ((), False)


def test_clip_reads_a_long_z_in_chunks(loaded):
    prompt = write_prompt(loaded("sdxl"), FOX)  # the tiny tokenizer has one token per letter
    assert prompt.text == write_prompt(loaded("z-image"), FOX).text
    assert (prompt.unsaid, prompt.is_cut, prompt.is_long) == ((), False, True)
    assert not write_prompt(loaded("sdxl"), Document(caption="a fox")).is_long


def test_a_sentence_that_does_not_fit_is_left_out_whole(loaded):
    base = loaded("sdxl")
    forest = FOX.elements[1].model_copy(update={"label": "tree " * 160})
    fox = FOX.model_copy(update={"elements": (FOX.elements[0], forest, FOX.elements[2])})
    prompt = write_prompt(base, fox)
    assert prompt.text == "a fox. small fox at the bottom left. small sun at the top left"
    assert [part[:10] for part in prompt.unsaid] == ["large tree"]
    assert not prompt.is_cut
    assert base.family.length(base.pipe, prompt.text) <= base.family.text_limit


def test_a_caption_that_is_too_long_is_kept_and_told(loaded):
    prompt = write_prompt(loaded("sdxl"), Document(caption="word " * 160))
    assert prompt.text == ("word " * 160).strip()
    assert prompt.is_cut


def test_the_template_of_a_chat_counts(loaded):
    for name in ("flux2-klein", "z-image"):
        base = loaded(name)
        alone = len(base.pipe.tokenizer("a fox").input_ids)
        assert base.family.length(base.pipe, "a fox") > alone + 4


@pytest.mark.skipif("ideogram4" not in AVAILABLE, reason="this diffusers does not know it")
def test_json_is_the_language_of_some(loaded):
    prompt = write_prompt(loaded("ideogram4"), FOX.model_copy(update={"description": "In snow."}))
    caption = json.loads(prompt.text)
    assert caption["high_level_description"] == "a fox. In snow"
    elements = caption["compositional_deconstruction"]["elements"]
    assert elements[0] == {"type": "obj", "bbox": [700, 0, 950, 200], "desc": "fox"}
    assert not prompt.is_cut


@pytest.mark.parametrize("name", [name for name in ("ideogram4", "fibo") if name in AVAILABLE])
def test_json_that_does_not_fit_is_shortened_and_never_cut(name, loaded, monkeypatch):
    base = loaded(name)
    style = Style(medium="photograph", lighting="evening " * 10)
    long = FOX.model_copy(
        update={
            "description": "In snow.",
            "background": "hills " * 10,
            "style": style,
            "palette": (Swatch(hex="#9CC9F5"),),
        }
    )
    whole = write_prompt(base, long)
    length = base.family.length(base.pipe, whole.text)
    left_out: list[list[str]] = []
    for limit in range(length - 1, length // 2, -100):
        monkeypatch.setattr(type(base.family), "text_limit", limit)
        prompt = write_prompt(base, long)
        assert not prompt.is_cut and base.family.length(base.pipe, prompt.text) <= limit
        assert "a fox" in json.dumps(json.loads(prompt.text))
        parts = [part.split(":")[0] for part in prompt.unsaid if part.endswith("does not fit.")]
        left_out.append(parts)
    assert all(one == more[: len(one)] for one, more in pairwise(left_out))
    assert left_out[0] == ["palette"] and left_out[-1][:4] == [
        *("palette", "style", "background", "elements[2]")
    ]
    monkeypatch.setattr(type(base.family), "text_limit", 10)
    assert write_prompt(base, long).is_cut, "what is left is too long by itself"


def test_colours_and_ellipses_are_words_for_fibo():
    fox = FOX.elements[0].model_copy(update={"colours": ("#FF8C1A", "#FFFFFF")})
    kite = Element(
        id="k", label="kite", ellipse=Ellipse(x=0.8, y=0.1, major=0.1, minor=0.1, angle=0)
    )
    palette = (Swatch(hex="#9CC9F5", weight=700), Swatch(hex="#2CA02C", weight=300))
    document = FOX.model_copy(update={"elements": (fox, kite), "palette": palette})
    text, unsaid = json_prompt(document, "fibo")
    caption = json.loads(text)
    assert caption["aesthetics"] == {"color_scheme": "light blue, green"}
    assert caption["objects"][0]["shape_and_color"] == "orange and white"
    assert caption["objects"][1] == {"description": "kite", "location": "top-right"}
    assert any(part.startswith("palette") for part in unsaid), "the exact colours are lost"
    told = document.model_copy(update={"style": Style(colour_words="pale")})
    assert json.loads(json_prompt(told, "fibo")[0])["aesthetics"]["color_scheme"] == "pale"


def test_without_t5_the_limit_of_clip_counts(base_folder):
    base = load_base(str(base_folder("sd3")))
    long = "word " * 40
    assert base.family.length(base.pipe, long) <= base.family.text_limit
    base.pipe.text_encoder_3 = None
    assert base.family.length(base.pipe, long) > base.family.text_limit
    assert base.family.length(base.pipe, "a fox") <= 77


def test_a_system_prompt_counts(loaded):
    base = loaded("lumina2")
    assert base.family.length(base.pipe, "a fox") > 100  # one token a letter
