"""A workspace: a folder with `kaleido.toml` and fixed places for everything that is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.files import atomic_write
from pipelines.workspace.config import load_settings, write_toml
from pipelines.workspace.lock import lock
from pipelines.workspace.manifest import read_manifest
from pipelines.workspace.settings import Settings

SETTINGS_FILE = "kaleido.toml"
LOCKS = ".locks"

IMAGE_LATENTS = "image-latents"
"""Pictures as an autoencoder encodes them: kept beside the latents, but no kind of z."""

CAPTION_STATES = "caption-states"
BASE_STATES = "base-states"
"""Captions as a frozen encoder reads them: likewise."""

LAYOUTS = "layouts"
"""The folder of attached annotations, and the input name of stages that read them."""

SHARD_NAME = re.compile(r"\d{6,}\.tar")
"""Names of shards; other files beside them are the user's."""

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class Workspace:
    """The places of data, latents, models, samples and reports.

    Attributes:
        root: The folder that holds `kaleido.toml`.
        settings: Its settings, including changes from the command line.
    """

    root: Path
    settings: Settings

    @classmethod
    def init(cls, path: Path, settings: Settings | None = None) -> Workspace:
        """Make a workspace at `path`, a new folder or an existing one.

        Args:
            path: The folder.
            settings: Written to its `kaleido.toml`; the defaults if None.

        Raises:
            KaleidoError: If `path` is a workspace already, or is not a folder.
        """
        root = path.resolve()
        if (root / SETTINGS_FILE).exists():
            why = "it is a workspace already."
            raise KaleidoError(str(root), why, "Use it as it is.", "would-overwrite")
        if root.exists() and not root.is_dir():
            why = "it is not a folder."
            raise KaleidoError(str(root), why, "Choose another path.", "bad-option")
        atomic_write(root / SETTINGS_FILE, write_toml(settings or Settings()).encode())
        return cls.find(explicit=root)

    @classmethod
    def open(cls, path: Path) -> Workspace:
        """Return the workspace at `path`, and make it first if there is none.

        Raises:
            KaleidoError: If `path` is not a folder, or its settings are not valid.
        """
        if (path / SETTINGS_FILE).is_file():
            return cls.find(explicit=path)
        return cls.init(path)

    @classmethod
    def find(cls, start: Path | None = None, explicit: Path | None = None) -> Workspace:
        """Find the workspace: `explicit` itself, or the nearest one from `start` upward.

        Args:
            start: Where to begin; the current folder by default.
            explicit: The workspace's folder, when the user names it.

        Raises:
            InputMissing: If there is no workspace.
            KaleidoError: If its settings are not valid.
        """
        first = (explicit or start or Path.cwd()).resolve()
        candidates = [first] if explicit else [first, *first.parents]
        for root in candidates:
            if (root / SETTINGS_FILE).is_file():
                return cls(root, load_settings(root / SETTINGS_FILE))
        where = "there" if explicit else "there or in a folder above"
        raise InputMissing(
            str(first),
            f"no {SETTINGS_FILE} is {where}.",
            "Run `kaleido init PATH` to make a workspace, or name one with --workspace.",
            "input-missing",
        )

    @property
    def data(self) -> Path:
        """Data shards."""
        return self.root / "data"

    @property
    def data_journal(self) -> Path:
        """Journal of the data shards that are being written."""
        return self.root / LOCKS / "data.journal"

    def latents_journal(self, kind: str, part: str = "") -> Path:
        """Return the journal of a kind's shards that are being written.

        Args:
            kind: The kind, or `LAYOUTS`.
            part: As for `lock`; each part keeps a journal of its own.
        """
        return self.root / LOCKS / f"{_file_name(_latents(kind), part)}.journal"

    def latents_journals(self, kind: str) -> list[Path]:
        """Return the journals that runs over any part have left."""
        whole = self.latents_journal(kind)
        return sorted([whole, *whole.parent.glob(f"{whole.stem}.part-*.journal")])

    @property
    def downloads(self) -> Path:
        """Downloaded files, unchanged."""
        return self.root / "downloads"

    @property
    def answers(self) -> Path:
        """Answers of servers of language models, which are never asked for twice."""
        return self.root / "answers"

    @property
    def logs(self) -> Path:
        """Logs and checkpoints of training runs."""
        return self.root / "logs"

    def latents(self, kind: str) -> Path:
        """Return the folder of one kind's shards, numbered as the data shards.

        `LAYOUTS`, from which latents can be made, have a folder of their own.
        """
        return self.root / LAYOUTS if kind == LAYOUTS else self._place("latents", kind)

    def models(self, name: str) -> Path:
        """Return the folder of a model."""
        return self._place("models", name)

    def samples(self, name: str) -> Path:
        """Return the folder of a run of `kaleido sample`."""
        return self._place("samples", name)

    def plans(self, name: str) -> Path:
        """The folder of one run of `kaleido plan`."""
        return self._place("plans", name)

    def reports(self, name: str) -> Path:
        """Return the folder of a report."""
        return self._place("reports", name)

    def _place(self, folder: str, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise KaleidoError(
                f"name {name!r} for {folder}/",
                "a name is 1 to 100 letters, digits, '-', '_' or '.', not beginning with '.'.",
                "Choose another name.",
                "bad-option",
            )
        return self.root / folder / name

    def data_shards(self) -> list[Path]:
        """Return the finished data shards in order; `status` lists unfinished ones."""
        return finished_shards(self.data)

    @contextmanager
    def lock(self, purpose: str, part: str = "") -> Iterator[None]:
        """Hold the lock of one place, for example ``"data"`` or ``"latents/boxes"``.

        Args:
            purpose: The place.
            part: Which part of it, as ``K-of-N``; other parts of as many stay free.

        Raises:
            KaleidoError: If another process is writing there (``locked``).
        """
        with lock(self.root / LOCKS / f"{_file_name(purpose, part)}.lock", purpose):
            yield


def finished_shards(folder: Path) -> list[Path]:
    """Return the shards of a folder that have a manifest, in order."""
    shards = (path for path in sorted(folder.glob("*.tar")) if SHARD_NAME.fullmatch(path.name))
    return [path for path in shards if read_manifest(path)]


def _latents(kind: str) -> str:
    return LAYOUTS if kind == LAYOUTS else f"latents/{kind}"


def _file_name(purpose: str, part: str) -> str:
    return purpose.replace("/", "-") + (f".part-{part}" if part else "")
