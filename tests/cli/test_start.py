"""Starting the program: what it imports, what it says, and that it is ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pipelines
from kaleido_cli import __version__
from kaleido_cli.app import COMMANDS, load

ROOT = Path(__file__).parents[2]
HEAVY = {
    "torch",
    "transformers",
    "diffusers",
    "ultralytics",
    "spacy",
    "datasets",
    "numpy",
    "pyarrow",
    "PIL",
    "scipy",
    "matplotlib",
    "pydantic",
}
LIST_MODULES = """
import json, sys
from kaleido_cli.__main__ import main
sys.argv = ["kaleido", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def start(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        **{"env": environment, **options},
    )


def groups() -> list[tuple[str, ...]]:
    """Every command and every command of a group."""
    found: list[tuple[str, ...]] = []
    for name in COMMANDS:
        subcommands = getattr(load(name), "commands", {})
        found += [(name,), *((name, subcommand) for subcommand in subcommands)]
    return found


@pytest.mark.parametrize("arguments", [(), ("extract",), ("data",), ("sample",)])
def test_help_imports_nothing_heavy(arguments):
    done = start("-c", LIST_MODULES, *arguments, "--help")
    modules = set(json.loads(done.stderr))
    assert "kaleido_cli.app" in modules
    assert not modules & HEAVY
    assert "Usage: kaleido" in done.stdout


@pytest.mark.parametrize("arguments", [("extract",), ("extract", "plugin"), ("extract", "boxes")])
def test_help_does_not_look_for_plug_ins(arguments):
    done = start("-c", LIST_MODULES, *arguments, "--help")
    assert "pipelines.core.plugins" not in json.loads(done.stderr)


def test_help_of_the_program_imports_no_command():
    done = start("-c", LIST_MODULES, "--help")
    modules = set(json.loads(done.stderr))
    assert not {f"kaleido_cli.{name}" for name in COMMANDS} & modules
    for name, line in COMMANDS.items():
        assert name in done.stdout
        assert line in done.stdout


@pytest.mark.parametrize("arguments", groups(), ids=" ".join)
def test_every_help_has_an_example_that_parses(arguments):
    command = load(arguments[0])
    for name in arguments[1:]:
        command = command.commands[name]
    assert command.help
    assert command.epilog.startswith(f"Example: kaleido {' '.join(arguments)}")


def test_the_lines_of_the_table_are_those_of_the_groups():
    for name, line in COMMANDS.items():
        command = load(name)
        if hasattr(command, "commands"):
            assert command.help.startswith(line.rstrip(".")), name


def test_version():
    assert start("-m", "kaleido_cli", "--version").stdout == f"kaleido {__version__}\n"


def test_a_mistyped_command_gets_the_nearest():
    done = start("-m", "kaleido_cli", "extrct")
    assert done.returncode == 2
    assert "Did you mean 'extract'" in done.stderr


def test_pipelines_is_ours():
    assert Path(pipelines.__file__).parent == ROOT / "pipelines"


@pytest.mark.parametrize("content", ["", "raise RuntimeError('imported')"])
def test_a_foreign_pipelines_is_named(tmp_path, content):
    foreign = tmp_path / "pipelines"
    foreign.mkdir()
    (foreign / "__init__.py").write_text(content)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    done = start("-m", "kaleido_cli", "status", env=environment, cwd=ROOT.parent)
    assert done.returncode == 1
    assert f"`pipelines` leads to {foreign}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_pipelines_is_named(tmp_path):
    (tmp_path / "kaleido_cli").symlink_to(ROOT / "kaleido_cli")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); "
        "from kaleido_cli import __main__ as start; "
        "start.find_spec = lambda name: None; sys.exit(start.shadowed())"
    )
    done = start("-c", script, str(tmp_path))
    assert "`pipelines` is missing" in done.stderr
