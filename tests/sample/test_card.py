"""The card of exported models says what they are, and whose data they learned from."""

from __future__ import annotations

from dataclasses import replace

from pipelines.sample import card as module
from pipelines.sample.card import Facts, data_facts, model_card

FACTS = Facts("kaleido", "CC-BY-4.0", ("boxes", "palette"), ("boxes",), ("8 x 8",), 1234, 5678, "")


def rows(facts: Facts) -> dict[str, str]:
    table = model_card(facts).split("|---|---|\n")[1]
    return dict(line.removeprefix("| ")[:-2].split(" | ", 1) for line in table.splitlines())


def test_a_card_has_a_row_for_each_fact() -> None:
    found = rows(replace(FACTS, data="shapes", shapes=("8 x 8", "8 x 16")))
    assert found == {
        "model": "p(x\\|z,c) and its prior p(z\\|c)",
        "kinds of z": "boxes, palette",
        "drawn by default": "boxes",
        "pictures": "8 x 8, 8 x 16 pixels",
        "parameters": "1,234",
        "pictures seen in training, with repetition": "5,678",
        "data": "shapes",
        "licence of the weights": "CC-BY-4.0",
    }
    front = model_card(FACTS).split("---\n")[1].splitlines()
    tags = ["library_name: diffusers", "pipeline_tag: text-to-image", "tags: [kaleido]"]
    assert front == ["license: cc-by-4.0", *tags]


def test_a_baseline_without_a_licence_says_so() -> None:
    plain = replace(FACTS, model="baseline", licence="", z_kinds=(), drawn_kinds=())
    found = rows(plain)
    assert found["model"] == "p(x\\|c)" and found["kinds of z"].startswith("none")
    assert found["drawn by default"] == "none"
    assert found["licence of the weights"].startswith("not stated")
    assert model_card(plain).startswith("---\nlibrary_name")


def test_licences_are_counted_the_most_frequent_first(
    workspace, write_data, records, monkeypatch
) -> None:
    licences = ["MIT"] * 2 + ["CC0-1.0"] * 5
    own = [
        replace(record, meta={"licence": licence})
        for record, licence in zip(records, licences, strict=False)
    ]
    write_data([*own, replace(records[7], meta={})], 3)
    stage = "`kaleido data fixture`; licences of "
    whole = f"{stage}8 records: CC0-1.0 (5), MIT (2), unknown (1)"
    assert data_facts(workspace) == whole
    monkeypatch.setattr(module, "LICENCES_READ", 4)
    assert data_facts(workspace) == f"{stage}the first 4 records: MIT (2), CC0-1.0 (2)"
    monkeypatch.setattr(module, "LICENCES_READ", 9)
    assert data_facts(workspace) == whole


def test_twenty_licences_are_named_at_most(workspace, write_data, records) -> None:
    own = [
        replace(records[number % 10], key=f"k{number}", meta={"licence": f"L{number:02d}"})
        for number in range(22)
    ]
    write_data(own, 11)
    shown = data_facts(workspace).split(": ")[1].split(", ")
    assert shown == [f"L{number:02d} (1)" for number in range(20)]
