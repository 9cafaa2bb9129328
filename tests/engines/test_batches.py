"""A stage on a batch: a bad record costs itself, and a defect or lost memory ends the run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from colour_stage import MeanColour, run_stage

from pipelines.core.errors import BadRecord, KaleidoError
from pipelines.core.stage import Failed, Filtered, Ok, StageGroup, StageSpec
from pipelines.engines.batches import call_stage, describe, unfit
from pipelines.latents.boxes import Box, Boxes


class TooFew(MeanColour):
    def __call__(self, records):
        return super().__call__(records)[1:]


class TooMany(MeanColour):
    def __call__(self, records):
        return [*super().__call__(records), Filtered("more")]


class NoOutcome(MeanColour):
    def __call__(self, records):
        return [None for _ in records]


class OtherKind(MeanColour):
    def __call__(self, records):
        return [Ok(Boxes((Box("star", 0, 0, 9, 9),))) for _ in records]


@pytest.mark.parametrize(
    "stage",
    [
        TooFew(),
        TooMany(),
        NoOutcome(),
        OtherKind(),
    ],
)
def test_a_stage_that_breaks_its_contract_is_a_defect(workspace, write_data, records, stage):
    write_data(records, 5)
    with pytest.raises(KaleidoError) as caught:
        run_stage(workspace, stage)
    assert (caught.value.code, caught.value.what) == ("plugin", "stage 'mean-colour'")
    assert not workspace.latents("palette").exists()


class Breaks(MeanColour):
    """Breaks at one batch for a reason that no record gives."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def __call__(self, records):
        if records[0].key == "r005":
            raise self.error
        return super().__call__(records)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "out-of-memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "out-of-memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out-of-memory"),
        (ImportError("no module"), "error"),
        (RuntimeError("odd"), "error"),
        (KaleidoError("weights", "they are gone.", code="bad-model"), "bad-model"),
    ],
    ids=["memory", "gpu", "cpu", "import", "runtime", "kaleido"],
)
def test_an_error_that_concerns_no_record_ends_the_run(workspace, write_data, records, error, code):
    write_data(records, 5)
    with pytest.raises(KaleidoError) as caught:
        run_stage(workspace, Breaks(error))
    assert caught.value.code == code
    names = sorted(path.name for path in workspace.latents("palette").iterdir())
    assert names == ["000000.json", "000000.parquet", "000000.tar"]
    assert run_stage(workspace, MeanColour()).ok == 10


def test_such_an_error_names_stage_and_records_from_a_worker_too(workspace, write_data, records):
    write_data(records, 5)
    with pytest.raises(KaleidoError) as caught:
        run_stage(workspace, Breaks(RuntimeError("odd")), workers=2)
    assert caught.value.what == "stage 'mean-colour'"
    assert all(word in caught.value.why for word in ("r005", "r006", "RuntimeError: odd"))


def test_a_decoder_without_memory_does_not_make_a_failed_row(
    workspace, write_data, records, monkeypatch
):
    from PIL import ImageFile

    def starve(self):
        raise MemoryError

    write_data(records, 5)
    monkeypatch.setattr(ImageFile.ImageFile, "load", starve)
    with pytest.raises(KaleidoError, match="r000: .*MemoryError"):
        run_stage(workspace, MeanColour())
    assert not workspace.latents("palette").exists()


class Both(StageGroup):
    """Two kinds at once; it cannot compute some keys, or not together with others."""

    specs = (StageSpec("one", 1, "boxes"), StageSpec("two", 1, "blobs"))

    def __init__(self, *bad):
        self.bad, self.calls = bad, []

    def compute(self, records, kinds):
        self.calls.append(([record.key for record in records], list(kinds)))
        if any(record.key in self.bad for record in records):
            raise LookupError
        return {kind: [Filtered(f"{kind} of {record.key}") for record in records] for kind in kinds}


def test_a_batch_that_fails_is_computed_again_by_record_and_kind(records):
    stage, kinds = Both("r001"), ("boxes", "blobs")
    found = call_stage(stage, records[:3], kinds)
    assert found == {
        kind: [Filtered(f"{kind} of r000"), Failed("LookupError"), Filtered(f"{kind} of r002")]
        for kind in kinds
    }
    assert len(stage.calls) == 1 + 3 * 2
    assert call_stage(stage, records[1:2], ["blobs"]) == {"blobs": [Failed("LookupError")]}
    assert len(stage.calls) == 1 + 3 * 2 + 1
    assert call_stage(stage, [], kinds) == {"boxes": [], "blobs": []}
    assert len(stage.calls) == 1 + 3 * 2 + 1


def test_records_that_no_stage_can_use(records):
    record = records[0]
    assert unfit(record, ()) is None
    assert unfit(record, ("palette", "boxes")) == Filtered("no palette, boxes")
    known = replace(record, latents={"palette": None})
    assert unfit(known, ("palette",)) is None
    assert unfit(known, ("palette", "boxes")) == Filtered("no boxes")
    broken = unfit(replace(record, image=record.image[:60]), ())
    assert isinstance(broken, Failed) and "damaged" in broken.error


def test_reasons_are_those_of_the_error():
    assert describe(ValueError("odd")) == "ValueError: odd"
    assert describe(KeyError()) == "KeyError"
    assert describe(BadRecord("r1", "it is blue.")) == "it is blue."
