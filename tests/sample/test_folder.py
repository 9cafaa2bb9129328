"""The folder of a run: new, named by the caption, and free again if the run is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kaleido_cli.options import require_place
from pipelines.core.errors import KaleidoError
from pipelines.core.progress import SILENT
from pipelines.sample.folder import new_folder
from pipelines.workspace.clean import clean
from pipelines.workspace.status import status
from tests.conftest import Told


def test_names_come_from_the_caption_and_are_numbered(workspace):
    names = []
    for _ in range(3):
        with new_folder(workspace.samples, None, "Two Circles & é!", SILENT) as folder:
            names.append(folder.name)
    assert names == ["two-circles", "two-circles-2", "two-circles-3"]
    for caption, name in (("ab" * 40, "ab" * 20), ("é", "samples"), ("(9) stars", "9-stars")):
        with new_folder(workspace.samples, None, caption, SILENT) as folder:
            assert folder.name == name


def test_a_folder_with_content_is_refused(workspace):
    with new_folder(workspace.samples, "a", "x", SILENT) as folder:
        (folder / "0000-0000.png").write_bytes(b"")
    for name in ("a", folder):
        with (
            pytest.raises(KaleidoError) as caught,
            new_folder(workspace.samples, name, "x", SILENT),
        ):
            pass
        assert caught.value.code == "would-overwrite"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_run_that_is_stopped_before_the_first_picture_leaves_nothing(workspace, error):
    with pytest.raises(error), new_folder(workspace.samples, "a", "x", SILENT) as folder:
        (folder / "samples.jsonl").write_text("")
        raise error
    assert not folder.exists()


def test_pictures_of_a_stopped_run_are_kept_and_the_name_is_free(workspace):
    for name in ("a-stopped", "a-stopped-2"):
        told = Told()
        with (
            pytest.raises(KeyboardInterrupt),
            new_folder(workspace.samples, "a", "x", told) as made,
        ):
            (made / "0000-0000.png").write_bytes(b"x")
            raise KeyboardInterrupt
        assert not made.exists()
        assert (workspace.samples(name) / "0000-0000.png").is_file()
        assert str(workspace.samples(name)) in told.said[0]


def test_a_folder_elsewhere(workspace, tmp_path):
    with new_folder(workspace.samples, tmp_path / "x" / "y", "c", SILENT) as folder:
        assert folder == tmp_path / "x" / "y"
        assert folder.is_dir()


def test_of_two_runs_of_one_name_one_is_refused_and_the_other_keeps_its_pictures(
    workspace, monkeypatch
):
    """Both have seen that the name is free when the first makes the folder."""
    with new_folder(workspace.samples, "a", "x", SILENT) as first:
        (first / "samples.jsonl").write_text("first")
        monkeypatch.setattr(Path, "exists", lambda path: False)
        with (
            pytest.raises(KaleidoError) as caught,
            new_folder(workspace.samples, "a", "x", SILENT),
        ):
            pass
        monkeypatch.undo()
        assert caught.value.code == "would-overwrite"
        assert (first / "samples.jsonl").read_text() == "first"


def test_an_empty_folder_of_the_users_outlives_a_stopped_run(workspace, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    with pytest.raises(KeyboardInterrupt), new_folder(workspace.samples, mine, "x", SILENT):
        (mine / "samples.jsonl").write_text("")
        raise KeyboardInterrupt
    assert list(mine.iterdir()) == []


def test_a_file_of_the_users_in_the_folder_of_a_stopped_run_is_kept(workspace):
    with pytest.raises(KeyboardInterrupt), new_folder(workspace.samples, "a", "x", SILENT) as made:
        (made / "samples.jsonl").write_text("")
        (made / "notes.txt").write_text("mine")
        raise KeyboardInterrupt
    assert not made.exists()
    assert (workspace.samples("a-stopped") / "notes.txt").read_text() == "mine"


def kill_a_run(folder: Path, pictures: int) -> None:
    """Let another process fill a folder until it is killed."""
    script = (
        "import os, sys, signal\n"
        "from pathlib import Path\n"
        "from pipelines.core.progress import SILENT\n"
        "from pipelines.sample.folder import new_folder\n"
        "with new_folder(Path, Path(sys.argv[1]), 'x', SILENT) as folder:\n"
        "    for number in range(int(sys.argv[2])):\n"
        "        (folder / f'{number}.png').write_bytes(b'x')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder), str(pictures)], check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("pictures", [0, 2])
def test_a_killed_run_is_told_apart_and_its_name_is_free(workspace, pictures, invoke):
    kill_a_run(workspace.samples("a"), pictures)
    for _ in range(2):  # looking changes nothing
        found = status(workspace)
        assert found["samples"] == [] and found["drawing"] == {"a": "killed"}
    shown = invoke("status", "--workspace", str(workspace.root)).out
    assert "samples/a is of a run that was killed" in shown
    leftovers = clean(workspace, remove=False).leftovers
    assert [item.path for item in leftovers] == [workspace.samples("a")][: pictures == 0]
    require_place(workspace, "a")
    told = Told()
    with new_folder(workspace.samples, "a", "x", told) as folder:
        assert list(folder.glob("*.png")) == []
        assert status(workspace)["drawing"] == {"a": "running"}
        (folder / "new.png").write_bytes(b"x")
        with pytest.raises(KaleidoError):
            require_place(workspace, "a")
    assert [path.name for path in folder.iterdir()] == ["new.png"]
    found = status(workspace)
    assert found["samples"] == ["a", "a-stopped"][: 1 + bool(pictures)]
    assert found["drawing"] == {}
    assert len(list(workspace.samples("a-stopped").glob("*.png"))) == pictures
    assert len(told.said) == bool(pictures)


def test_a_kept_name_with_a_mark_of_a_living_run_is_refused(workspace):
    with new_folder(workspace.samples, "a", "x", SILENT) as folder:
        (folder / "0.png").write_bytes(b"x")
        with pytest.raises(KaleidoError), new_folder(workspace.samples, "a", "x", SILENT):
            pass
        assert (folder / "0.png").is_file()
