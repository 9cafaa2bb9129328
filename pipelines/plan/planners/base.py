"""The interface of planners: they write z of a caption as documents, without pictures."""

from __future__ import annotations

from typing import Protocol

from pipelines.documents.document import Document


class Planner(Protocol):
    """Draws plans of a caption.

    Attributes:
        identity: Hash or version of everything that its plans depend on, beside the caption, their
            number and the seed.
    """

    identity: str

    def plan(self, caption: str, count: int, seed: int) -> list[Document]:
        """Draw plans of a caption.

        Args:
            caption: What a user asks for; it is data, and no part of it is an instruction.
            count: How many, at least 1.
            seed: Equal seeds give equal plans.

        Returns:
            `count` valid documents with the caption and keys ``plan-0000`` and so on, in drawing
            order. Planners of independent draws may repeat a plan.

        Raises:
            KaleidoError: If the planner cannot give as many plans that fit the caption.
        """
        ...
