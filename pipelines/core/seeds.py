"""Seeds derived from (seed, purpose, key), so that results do not depend on execution order."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def derive(seed: int, purpose: str, key: str | int = "") -> int:
    """Derive an independent 63-bit seed.

    Args:
        seed: The user's seed, any integer.
        purpose: The use of the random numbers, for example ``"noise"`` or ``"palette"``.
        key: The item, for example a record's key or a sample's number.

    Returns:
        An integer in [0, 2**63), the same on every machine.
    """
    message = f"{seed}\x1f{purpose}\x1f{key}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(message, digest_size=8).digest(), "big") >> 1


def generator(seed: int, purpose: str, key: str | int = "") -> np.random.Generator:
    """Return a NumPy generator seeded by `derive`."""
    import numpy as np

    return np.random.default_rng(derive(seed, purpose, key))
