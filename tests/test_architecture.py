"""The structure of the code, and what the documents say about it."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from kaleido_cli.app import COMMANDS, load

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PACKAGES = (*PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"], "recipes")
(LAYERS,) = (
    [layer.split(" | ") for layer in contract["layers"]]
    for contract in PYPROJECT["tool"]["importlinter"]["contracts"]
    if contract["type"] == "layers"
)
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
DOCUMENTS = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob(".github/**/*.md"))
    if path.name != "CHANGELOG.md" and path.parent.name != "notes"  # they tell of earlier versions
)


@cache
def modules() -> dict[str, Path]:
    """Return every module of the packages, by its dotted name."""
    found = {}
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> dict[str, set[str]]:
    """Return the modules that each module imports, in functions and for annotations as well."""
    return {name: set(imported(path)) - {name} for name, path in modules().items()}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules())
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if (name if name in modules() else node.module) in modules():
                    yield name if name in modules() else node.module


def circles(edges: dict[str, set[str]]) -> list[set[str]]:
    """Return the sets of modules that can reach each other."""
    reach: dict[str, set[str]] = {}
    for start in edges:
        reach[start], todo = set(), [start]
        while todo:
            new = edges[todo.pop()] - reach[start]
            reach[start] |= new
            todo += new
    found = [{other for other in reach[name] if name in reach[other]} for name in edges]
    return [circle for i, circle in enumerate(found) if circle and circle not in found[:i]]


def layer(module: str) -> int | None:
    """Return the number of a module's layer, 0 at the top."""
    for number, members in enumerate(LAYERS):
        if any(module == member or module.startswith(f"{member}.") for member in members):
            return number
    return None


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_imports_are_relative():
    for path in modules().values():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level), path


def test_no_files_import_each_other_in_a_circle():
    assert circles(imports()) == []


def test_every_module_is_in_a_layer():
    namespaces = {"pipelines"}
    assert [name for name in modules() if layer(name) is None and name not in namespaces] == []


def test_imports_go_from_upper_layers_to_lower_ones():
    wrong = [
        (name, other)
        for name, others in imports().items()
        for other in others
        if layer(name) is not None
        and layer(other) is not None
        and (
            layer(other) < layer(name)
            or (layer(other) == layer(name) and not one_member(name, other))
        )
    ]
    assert wrong == []


def one_member(first: str, second: str) -> bool:
    """Return whether two modules of one layer belong to the same package of it."""
    return any(
        all(name == member or name.startswith(f"{member}.") for name in (first, second))
        for members in LAYERS
        for member in members
    )


def test_every_package_says_what_it_is():
    silent = [
        folder.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for folder in {path.parent for path in (ROOT / package).rglob("*.py")}
        if not describes(folder / "__init__.py")
    ]
    assert silent == []


def describes(path: Path) -> bool:
    return path.is_file() and bool(ast.get_docstring(ast.parse(path.read_text("utf-8"))))


def test_pre_commit_runs_the_versions_of_pyproject():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    wanted = re.findall(r'additional_dependencies: \["([^"]+)"\]', hooks)
    assert wanted and set(wanted) <= set(PYPROJECT["project"]["optional-dependencies"]["dev"])


def test_the_citation_has_the_version_of_the_code():
    from kaleido_cli import __version__

    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
class TestDocuments:
    def test_names_files_that_exist(self, page):
        text = page.read_text("utf-8")
        links = [
            page.parent / link.split("#")[0]
            for link in re.findall(r"\]\(([^)\s]+)\)", text)
            if not re.match(r"[a-z]+:|#|\.\./\.\./\.\./", link)
        ]
        tops = "|".join((*PACKAGES, "docs", "tests", "benchmarks"))
        named = [
            ROOT / path for path in re.findall(rf"(?<![\w./-])((?:{tops})/[\w./*-]*\w/?)", text)
        ]
        assert [path for path in links + named if not exists(path)] == []

    def test_names_modules_that_exist(self, page):
        dotted = re.findall(
            rf"(?<![\w./])(?:{'|'.join(PACKAGES)})(?:\.\w+)+", page.read_text("utf-8")
        )
        placeholders = [name for name in dotted if name.split(".")[-1].isupper()]
        assert [name for name in dotted if not defined(name) and name not in placeholders] == []

    def test_names_commands_and_flags_that_exist(self, page):
        wrong = [problem for line in commands(page.read_text("utf-8")) for problem in check(line)]
        assert wrong == []


def test_the_way_of_a_record_has_at_most_twelve_stations_that_exist():
    page = (ROOT / "docs" / "design.md").read_text("utf-8")
    ways = re.findall(r"^### `kaleido ([a-z ]+)`\n\n((?:\d+\. .*\n)+)", page, re.MULTILINE)
    assert [name for name, _ in ways] == [
        "data folder",
        "extract boxes",
        "train prior",
        "train diffusion",
        "train adapter",
        "sample",
    ]
    for _, way in ways:
        stations = re.findall(r"^\d+\. `([\w/]+\.py):([\w.]+)` ", way, re.MULTILINE)
        assert len(way.splitlines()) == len(stations) <= 12
        assert [station for station in stations if not has(ROOT / station[0], station[1])] == []


def has(path: Path, name: str) -> bool:
    """Return whether a file defines a function, a class, or a method `Class.method`."""
    body = ast.parse(path.read_text("utf-8")).body if path.is_file() else []
    for part in name.split("."):
        found = [node for node in body if isinstance(node, Definition) and node.name == part]
        if not found:
            return False
        body = found[0].body
    return True


def test_messages_name_commands_and_flags_that_exist():
    wrong = [
        (path.relative_to(ROOT).as_posix(), problem)
        for path in modules().values()
        for line in re.findall(r"`(kaleido [^`{}]+)`", path.read_text("utf-8"))
        for problem in check(" ".join(re.sub(r'"\s+f?"', "", line).split()))
    ]
    assert wrong == []


def exists(path: Path) -> bool:
    """Return whether a path exists; `*` stands for any name."""
    if "*" in str(path):
        return any(ROOT.glob(path.relative_to(ROOT).as_posix()))
    return path.exists()


def defined(name: str) -> bool:
    """Return whether a dotted name is a module, or is defined in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        path = modules().get(".".join(parts[:length]))
        if path:
            rest = parts[length : length + 1]
            return not rest or re.search(rf"\b{rest[0]}\b", path.read_text("utf-8")) is not None
    return False


def commands(text: str) -> Iterator[str]:
    """Return the `kaleido` commands of a page: lines of code blocks, and code within lines."""
    blocks = re.findall(r"^ *```[^\n]*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            yield from re.findall(r"(?:^|[;&|]|\$\()\s*\$?\s*(kaleido .*?)(?= && |\s[|;] |$)", line)
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`(kaleido [^`]+)`", prose):
        yield " ".join(code.split())


def check(line: str) -> list[str]:
    """Return what is wrong with a command: an unknown name or an unknown flag.

    Words in capitals and … stand for anything.
    """
    words = shlex.split(line.replace("…", " ... "), comments=True)[1:]
    words = [word for word in words if word not in ("...", "[", "]")]
    while words and words[0].startswith("-"):
        if words.pop(0) not in ("--verbose", "--version", "--help", "--install-completion"):
            return [line]
    if not words or words[0].isupper():
        return []
    if words[0] not in COMMANDS:
        return [f"{line}: there is no command {words[0]}"]
    command, rest = load(words[0]), words[1:]
    group = getattr(command, "commands", None)
    if group is not None and rest and not rest[0].startswith("-") and not rest[0].isupper():
        if rest[0] not in group:
            return [f"{line}: there is no command {words[0]} {rest[0]}"]
        command, rest, group = group[rest[0]], rest[1:], None
    known = {"--help", "-h"}
    for each in group.values() if group else (command,):  # of a group named alone, any command's
        known |= {name for param in each.params for name in (*param.opts, *param.secondary_opts)}
    known |= {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    flags = [word.split("=")[0].strip("[],.") for word in rest if re.match(r"\[?--?[a-z]", word)]
    return [f"{line}: there is no flag {flag}" for flag in flags if flag not in known]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("kaleido nonsense", "nonsense"),
        ("kaleido data nonsense", "data nonsense"),
        ("kaleido train prior --nonsense 3", "--nonsense"),
        ("kaleido --verbose COMMAND", None),
        ("kaleido extract … --dry-run", None),
        ('kaleido sample "two circles" --n 4  # --nonsense', None),
    ],
)
def test_wrong_commands_are_found(line, problem):
    assert [problem in found for found in check(line)] == ([] if problem is None else [True])
