"""Compare writing and reading shards with webdataset, on the same rows of JPEG, JSON and text.

Both return whole rows; ours are also checked while reading. The aim is to be no slower.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import webdataset
from _paired import in_turns, show
from PIL import Image

from pipelines.core.images import decode_image
from pipelines.workspace.shards import read_shard, write_shard

ROWS, SIDE, ROUNDS, DECODED = 5_000, 256, 5, 1_000
Row = tuple[str, dict[str, bytes]]


def main() -> None:
    """Print rates and ratios."""
    rows = list(make_rows(np.random.default_rng(0)))
    with tempfile.TemporaryDirectory() as name:
        ours, theirs = Path(name) / "ours.tar", Path(name) / "theirs.tar"

        def write_theirs() -> None:
            with theirs.open("wb") as file, webdataset.TarWriter(file) as writer:
                for key, fields in rows:
                    writer.write({"__key__": key, **fields})

        def read_theirs() -> int:
            return sum(len(row) for row in webdataset.WebDataset(str(theirs), shardshuffle=False))

        writing = {
            "webdataset.TarWriter": write_theirs,
            "write_shard": lambda: write_shard(ours, rows),
        }
        show(in_turns(writing, ROUNDS), "webdataset.TarWriter", "rows", ROWS)
        reading = {
            "webdataset.WebDataset": read_theirs,
            "read_shard": lambda: sum(len(fields) for _, fields in read_shard(ours)),
        }
        show(in_turns(reading, ROUNDS), "webdataset.WebDataset", "rows", ROWS)
    images = [fields["jpg"] for _, fields in rows[:DECODED]]
    decoding = {
        "Pillow alone": lambda: [np.asarray(Image.open(io.BytesIO(data))) for data in images],
        "decode_image": lambda: [decode_image(data, name="row") for data in images],
    }
    show(in_turns(decoding, ROUNDS), "Pillow alone", "images", DECODED)


def make_rows(rng: np.random.Generator) -> Iterator[Row]:
    """Yield smooth pictures, with files as large as those of photographs of this size."""
    for index in range(ROWS):
        small = rng.integers(0, 256, (SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "JPEG")
        caption = f"picture {index}"
        meta = json.dumps({"caption": caption, "index": index}).encode()
        yield f"row-{index:07d}", {"jpg": file.getvalue(), "json": meta, "txt": caption.encode()}


if __name__ == "__main__":
    main()
