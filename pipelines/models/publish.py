"""Copying a model's folder to the Hugging Face hub, with the token of the environment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.core.errors import KaleidoError
from pipelines.models.hub import first_line

INDEXES = ("model_index.json", "config.json")
"""Files that name the class of what a folder holds, a pipeline or else a network."""

_USUAL = (".gitattributes", "README.md")
"""Files that the hub's own pages make in a new repository."""


def require_token() -> None:
    """Check that there is a token, before anything is computed.

    Raises:
        KaleidoError: If there is none.
    """
    from huggingface_hub import get_token

    if get_token() is None:
        raise KaleidoError(
            "--push-to-hub",
            "there is no token of the hub.",
            "Set HF_TOKEN to one that may write, or run `hf auth login`.",
            code="hub",
        )


def push_folder(
    folder: Path, repo: str, private: bool, overwrite: bool, replaced: Sequence[str]
) -> str:
    """Copy a model's folder to a repository, in one commit; files that are there do not travel.

    Args:
        folder: What ``save_pretrained`` wrote; files with a leading dot stay behind.
        repo: ``user/name``; it is made if there is none.
        private: Whether a new repository is private; an existing one stays as it is.
        overwrite: Push into a repository that holds something else.
        replaced: Patterns of files that are removed there if the folder lacks them.

    Returns:
        The address of the commit.

    Raises:
        KaleidoError: If the repository holds something else, or the hub refuses.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    with _hub_errors(repo):
        name = api.create_repo(repo, private=private, exist_ok=True).repo_id
        files = [file for file in api.list_repo_files(name) if file not in _USUAL]
    index = next(folder / index for index in INDEXES if (folder / index).is_file())
    wanted = json.loads(index.read_text("utf-8"))["_class_name"]
    if files and not overwrite and _class_there(api, name, files) != wanted:
        raise KaleidoError(
            repo,
            f"the repository holds something else than a {wanted}, {files[0]} for example.",
            "Choose another name, or give --overwrite to push into it.",
            code="would-overwrite",
        )
    with _hub_errors(repo):
        commit = api.upload_folder(
            repo_id=name,
            folder_path=folder,
            commit_message="kaleido export",
            ignore_patterns=[".*", "*/.*"],
            delete_patterns=list(replaced),
        )
    return str(commit.commit_url)


def _class_there(api: Any, name: str, files: Sequence[str]) -> str:
    """Return the class of the model in a repository; empty if it holds none."""
    index = next((index for index in INDEXES if index in files), None)
    if index is None:
        return ""
    with _hub_errors(name):
        path = Path(api.hf_hub_download(name, index))
    try:
        return str(json.loads(path.read_text("utf-8"))["_class_name"])
    except (ValueError, KeyError, TypeError):
        return ""


@contextmanager
def _hub_errors(repo: str) -> Iterator[None]:
    """Turn the errors of the hub's client into one line without the token."""
    from huggingface_hub import get_token

    try:
        yield
    except Exception as error:  # the client raises errors of many libraries
        why = first_line(error)
        if token := get_token():
            why = why.replace(token, "…")
        raise KaleidoError(
            repo,
            f"the hub refuses, or cannot be reached ({why}).",
            "Check the name, the connection and the token's rights; what was exported is kept, "
            "and the same command goes on.",
            code="hub",
        ) from None
