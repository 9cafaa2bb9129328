"""Sessions that check Kaleido. `nox` runs the light ones and the tests; see `nox --list`."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import nox

nox.options.sessions = ["lint", "types", "docs", "tests"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_external_run = True

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
PROJECT = PYPROJECT["project"]
PACKAGES = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
EXTRAS = PROJECT["optional-dependencies"]
HEAVY = ROOT / ".nox" / "heavy"
TESTED_EXTRAS = (
    *("yolo", "hub", "emoji", "spacy", "gguf", "plans"),
    *("ray", "remote", "lora", "track"),
)
TESTED = f"[{','.join(TESTED_EXTRAS)},dev]"
MUTATED = (
    "pipelines/sample/[!_]*.py",
    "pipelines/plan/spread.py",
    "pipelines/bases/loop.py",
    "pipelines/train/*r.py",
    "pipelines/train/diffusion.py",
    "pipelines/train/prior_task.py",
    "pipelines/train/joint.py",
    "pipelines/train/micro.py",
    "pipelines/train/ranks.py",
    "pipelines/models/conditioning.py",
    "pipelines/models/soundness.py",
    "pipelines/evaluate/metrics/[!_]*.py",
    "pipelines/latents/z_grammar.py",
    "pipelines/latents/grammar/[!_]*.py",
    "pipelines/workspace/manifest.py",
    "pipelines/workspace/digests.py",
    "pipelines/workspace/parts.py",
    "pipelines/engines/[!_]*.py",
)
"""The modules in which an unnoticed error would falsify results or lose data."""
LIGHT_REQUIREMENTS = ("typer", "rich")
"""What the command line's own modules import."""
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "YOLO_AUTOINSTALL": "false",
    "YOLO_OFFLINE": "true",
    "MPLBACKEND": "Agg",
    "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    "PYTHONPATH": "",
}


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and the direction of imports."""
    session.install(*requirements("ruff", "import-linter"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Check types; heavy libraries count as Any and are not installed."""
    session.install(
        *requirements("mypy", "filelock", "httpx", "jinja2", "numpy", "pillow", *LIGHT_REQUIREMENTS)
    )
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a broken link is an error."""
    session.install(*requirements("mkdocs", "filelock", *LIGHT_REQUIREMENTS))
    session.run("mkdocs", "build", "--strict", "--site-dir", str(ROOT / "site"))


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """Run the tests: `nox -s tests -- tests/core -k shards`; `-n 0` keeps them in one process."""
    run_heavy(session, "-m", "pytest", *parallel(), *session.posargs)


@nox.session(venv_backend="none")
def coverage(session: nox.Session) -> None:
    """Run the tests and report which lines they reach, as a table and as coverage.xml."""
    reports = ("--cov", "--cov-report=term:skip-covered", "--cov-report=xml")
    run_heavy(session, "-m", "pytest", *parallel(), *reports, *session.posargs)


@nox.session
def mutate(session: nox.Session) -> None:
    """Change the code at many places and list the changes that no test notices.

    `nox -s mutate -- pipelines/sample/sampler.py` takes that module in place of `MUTATED`; a number
    takes so many changes of each module, drawn at random, and files of tests take the place of
    those that the module has by its name. All take hours. cosmic-ray makes the changes, and
    `tests/mutants/run.py` tries them in forks: cosmic-ray itself starts the tests anew for each,
    and mutmut leaves out decorated functions, the sampler above all.
    """
    session.install("cosmic-ray>=8.4")
    python = heavy_python(session)
    number = next((word for word in session.posargs if word.isdigit()), "")
    own = [word for word in session.posargs if word.startswith("tests/")]
    modules = [word for word in session.posargs if word not in (number, *own)] or sorted(
        path.relative_to(ROOT).as_posix() for name in MUTATED for path in ROOT.glob(name)
    )
    with TemporaryDirectory() as folder:  # the modules are changed in place
        copy = Path(folder) / "copy"
        ignored = shutil.ignore_patterns(".*", "site", "dist", "runs", "__pycache__")
        shutil.copytree(ROOT, copy, ignore=ignored)
        environment = ENVIRONMENT | {"PYTHONPATH": str(copy)}
        with session.chdir(copy):
            with Path("mutants.jsonl").open("w") as file:
                session.run("python", "tests/mutants/write.py", *modules, stdout=file)
            command = (python, "tests/mutants/run.py", "mutants.jsonl", number, *own)
            session.run(*command, env=environment, external=True)


@nox.session(venv_backend="none")
def fuzz(session: nox.Session) -> None:
    """Search for bytes that break what reads strangers' files, a minute for each kind of file.

    `nox -s fuzz -- tar captions -max_total_time=600` fuzzes those for ten minutes each; see
    `tests/fuzz/`. atheris varies the bytes by the branches that they reach.
    """
    run_heavy(session, "-m", "pip", "install", "--quiet", *EXTRAS["fuzz"])
    run_heavy(session, "-m", "tests.fuzz", "-max_total_time=60", *session.posargs)


@nox.session(venv_backend="none")
def gpu(session: nox.Session) -> None:
    """Run the tests that need a CUDA device."""
    run_heavy(session, "-m", "pytest", "-m", "gpu", *session.posargs)


@nox.session(venv_backend="none")
def demo(session: nox.Session) -> None:
    """Run `kaleido demo` in a temporary folder, or in the one given."""
    where = session.posargs or [str(Path(session.create_tmp()) / "demo")]
    run_heavy(session, "-m", "kaleido_cli", "demo", *where)


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """Run every benchmark, or those named: `nox -s bench -- cli_help`."""
    chosen = session.posargs or sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py"))
    run_heavy(session, "-m", "pip", "install", "--quiet", *EXTRAS["bench"])
    for name in chosen:
        run_heavy(session, str(ROOT / "benchmarks" / f"{name}.py"))


@nox.session(venv_backend="none")
def embedded(session: nox.Session) -> None:
    """Train the embedded models in runs/ and ship them, or those named on the command line."""
    for name in session.posargs or ("detector", "judge", "scenes"):
        run_heavy(session, "-m", f"recipes.train_{name}")
        if name != "scenes":  # whose recipe ships its five models itself
            made = ROOT / "runs" / name
            shutil.copytree(made, ROOT / "pipelines" / "embedded" / name, dirs_exist_ok=True)


@nox.session
def minimums(session: nox.Session) -> None:
    """Run the tests with the oldest versions that pyproject.toml allows."""
    oldest = [re.sub(r">=([\d.]+).*", r"==\1.*", line) for line in needed()]
    constraints = Path(session.create_tmp()) / "minimums.txt"
    constraints.write_text("\n".join(oldest) + "\n")
    # Named first, s3fs decides on boto3; else pip tries hundreds of releases that moto could take.
    limits = ("--constraint", str(constraints))
    session.install("s3fs[boto3]", "-e", f".{TESTED}", *limits)
    session.run("python", "-m", "pytest", *parallel(), *session.posargs, env=ENVIRONMENT)


@nox.session
def release(session: nox.Session) -> None:
    """Build wheel and sdist, check them, and try the wheel in an empty environment."""
    session.install("build", "twine")
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(ROOT / "dist"), str(ROOT))
    built = sorted((ROOT / "dist").iterdir())
    session.run("twine", "check", "--strict", *map(str, built))
    (wheel,) = (path for path in built if path.suffix == ".whl")
    check_wheel(session, wheel)

    with TemporaryDirectory() as empty:  # gigabytes, with torch in it
        session.run("python", "-m", "venv", empty)
        python = str(Path(empty) / ("Scripts" if os.name == "nt" else "bin") / "python")
        session.run(python, "-m", "pip", "install", "--quiet", str(wheel), external=True)
        with session.chdir(empty):  # else Python imports the packages of this folder
            for command in (
                ("-m", "kaleido_cli", "--help"),
                ("-c", f"import {', '.join(PACKAGES)}"),
            ):
                session.run(python, *command, env=ENVIRONMENT, external=True)


def check_wheel(session: nox.Session, wheel: Path) -> None:
    """Stop if the wheel lacks the shipped models or their licences, or holds other packages."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    if tops != set(PACKAGES):
        session.error(f"the wheel holds {sorted(tops)}, not {PACKAGES}")
    models = ROOT / "pipelines" / "embedded"
    shipped = [path for path in models.rglob("*") if path.suffix in (".safetensors", ".md")]
    shipped += models.rglob("LICENSE*")
    missing = {path.relative_to(ROOT).as_posix() for path in shipped} - set(names)
    if missing:
        session.error(f"the wheel lacks {sorted(missing)}")


def parallel() -> tuple[str, ...]:
    """Return pytest's flags for one worker process per core, at most 4.

    Each process computes with one thread (OMP_NUM_THREADS=1): threads of one process that wait for
    each other slow a busy machine more than further processes do. Four of them, with torch
    imported in each, fit into 8 GB of memory.
    """
    return "-n", str(min(os.cpu_count() or 1, 4)), "--dist", "worksteal"


def needed() -> list[str]:
    """Return the requirements of the installed program, extras included."""
    return PROJECT["dependencies"] + [line for name in TESTED_EXTRAS for line in EXTRAS[name]]


def requirements(*names: str) -> list[str]:
    """Return the requirements of pyproject.toml with these names."""
    known = {re.split(r"[<>=!~\[ ]", line)[0]: line for line in needed() + EXTRAS["dev"]}
    return [known[name] for name in names]


def run_heavy(session: nox.Session, *arguments: str) -> None:
    """Run Python in the one environment that all heavy sessions share.

    nox gives every session an environment of its own; torch and its company would then be installed
    (5 GB, minutes) again and again.
    """
    session.run(heavy_python(session), *arguments, env=ENVIRONMENT, external=True)


def heavy_python(session: nox.Session) -> str:
    """Return the Python of the shared environment, after installing what it lacks."""
    python = str(HEAVY / ("Scripts" if os.name == "nt" else "bin") / "python")
    installed = HEAVY / "installed.txt"
    state = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    if not installed.is_file() or installed.read_text() != state:
        session.run(sys.executable, "-m", "venv", str(HEAVY), external=True)
        session.run(python, "-m", "pip", "install", "-e", f"{ROOT}{TESTED}", external=True)
        installed.write_text(state)
    return python
