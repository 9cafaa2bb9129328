"""What the command line asks of z: --require, --forbid and --given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kaleido_cli.options import read_bytes

if TYPE_CHECKING:
    from pipelines.sample.control import Control
    from pipelines.sample.requirements import Requirements


@dataclass(frozen=True)
class Asked:
    """What is asked of z; requirements are read at once, before models are loaded.

    Attributes:
        wanted: The requirements.
        given: The file of the parts that are given; None for none.
    """

    wanted: Requirements
    given: str | None

    @classmethod
    def of(
        cls, require: Sequence[str] | None, forbid: Sequence[str] | None, given: str | None
    ) -> Asked:
        """Read the flags.

        Raises:
            KaleidoError: If a requirement cannot be read, or contradicts another.
        """
        from pipelines.sample.requirements import read_requirements

        return cls(read_requirements(require or (), forbid or ()), given)

    def __bool__(self) -> bool:
        """Return whether anything is asked."""
        return bool(self.wanted or self.given)

    def control(self) -> tuple[Control, str]:
        """Read the given parts too.

        Returns:
            All that is asked, and the caption of the given document, which may be empty.

        Raises:
            KaleidoError: If the file holds no z.
        """
        from pipelines.sample.control import Control, read_given

        if self.given is None:
            return Control(self.wanted), ""
        z, caption = read_given(*read_bytes(self.given))
        return Control(self.wanted, z), caption
