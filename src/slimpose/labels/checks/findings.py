"""What a check found: one entry per fault or suspicious label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal[
    "structure",
    "image",
    "swap",
    "off body",
    "limb length",
    "duplicate",
    "merged or split",
    "box cuts joints",
    "train and val",
    "model disagrees",
]
MEANINGS: dict[Kind, str] = {
    "structure": "entries that cannot be read, or contradict each other",
    "image": "images that are missing, broken or of another size",
    "train and val": "nearly the same image in train and val: val figures are too high",
    "swap": "left and right of the whole body are exchanged",
    "off body": "a joint far away from all others",
    "limb length": "joints at distances that no other instance has",
    "duplicate": "one instance labeled twice",
    "merged or split": "joints of two instances in one, or of one instance in two",
    "box cuts joints": "visible joints outside the instance's box",
    "model disagrees": "labels that a model contradicts and is sure of",
}
ERRORS: frozenset[Kind] = frozenset({"structure", "image", "train and val"})
"""Kinds that are faults for certain; the others are suspicious, for a person to decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A fault or suspicious label.

    Attributes:
        kind: What it is.
        text: What was found, with the figures that led to it.
        image_id: The image's id; None where a whole file is concerned.
        annotation_id: The annotation's id; None where an image is concerned.
        joints: Numbers of the joints concerned, from 0; () for all.
        suspicion: 0..1, to order findings by.
        is_val: Whether it is in the validation file.
    """

    kind: Kind
    text: str
    image_id: int | None = None
    annotation_id: int | None = None
    joints: tuple[int, ...] = ()
    suspicion: float = 1.0
    is_val: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "kind": self.kind,
            "text": self.text,
            "image_id": self.image_id,
            "annotation_id": self.annotation_id,
            "joints": list(self.joints),
            "suspicion": round(self.suspicion, 4),
            "file": "val" if self.is_val else "train",
        }


def counts(findings: Iterable[Finding]) -> dict[Kind, int]:
    """Return the number of findings of every kind."""
    counted = Counter(one.kind for one in findings)
    return {kind: counted[kind] for kind in MEANINGS}


def suspicious(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings of annotations, the most suspicious first."""
    of_labels = [one for one in findings if one.annotation_id is not None]
    return sorted(of_labels, key=lambda one: -one.suspicion)
