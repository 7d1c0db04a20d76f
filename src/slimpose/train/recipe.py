"""What a training run is, as data. ``recipes/`` holds the named ones."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slimpose.arrays import Size
from slimpose.data.augment import Augmentation
from slimpose.data.people import TeacherLabels
from slimpose.network.build import Spec, spec_from_json
from slimpose.network.spec import NetSpec
from slimpose.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of the run: so many samples at this input size, augmented so strongly (1: as the recipe).

    Where ``epochs`` is given instead, ``Recipe.counted`` makes it samples once the data are known.
    With ``cached_teacher`` the teacher looks at every person once, before the run, in place of every
    crop (pose only).
    """

    size: Size
    samples: int = 0
    epochs: float = 0.0
    augmentation: float = 1.0
    cached_teacher: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One training run.

    Attributes:
        name: The command's word for it.
        task: "pose" or "detect".
        net: What is trained; its size is the one it is evaluated and exported at.
        phases: In order; the learning rate runs through all of them once.
        start: What it starts from unless the command says otherwise: "imagenet", or "" for random
            weights.
        batch: Samples a step, of all processes together.
        learning_rate: AdamW's peak.
        encoder_rate: The encoder's learning rate as a share of it.
        frozen_stages: The encoder's stem and so many stages stay as they started: their maps are
            the largest, so a CPU step is half as long again as fast, and a start that knows people
            needs no new edges.
        weight_decay: AdamW's, on convolution weights only; with 0 it is Adam.
        warm_up: Share of the run in which the rate climbs.
        flat: Share of the run in which it then stays at its peak, before a cosine takes it to zero.
        drops: Shares of the run behind each of which the rate is a tenth of what it was; instead of
            the above.
        ema: Decay a step of the averaged weights, which are what is evaluated and kept; 0 keeps the
            last.
        augmentation: How strongly samples are changed.
        source_repeats: How often a sample of a source is drawn in an epoch (1 where not named).
        keypoint_confidence: Factor of a source's own labels (1 where not named); 0 leaves its people to the
            teacher's heatmaps (pose only).
        alpha: Share 0..1 of the loss that compares with a teacher's heatmaps or boxes; 0 trains
            without a teacher.
        imitation: Share 0..1 of the loss, beside all that compares heatmaps, that compares the
            head's maps, and those of the encoder's that are as wide in both nets, with the
            teacher's (pose only, ``train/imitation.py``). The student's deconvolutions begin as the
            teacher's.
        mirrored_teacher: Show a teacher that looks at every crop the mirrored crop too and learn
            from the mean: it then costs twice as much, and is a better teacher by what a flip test
            gives it.
        distill_unlabeled: Whether the teacher is believed about joints without a label too (pose
            only).
        teacher_labels: Whether to believe guesses for joints nobody annotated (pose only).
        sigma_share: Target Gaussian's standard deviation as a share of the heatmap's height (pose
            only).
        evaluations: How often the averaged weights are evaluated during the run, evenly spread.
        seed: Fixes order, augmentation and initial weights.

    Raises:
        ValueError: If alpha or imitation is no share, or a mirrored teacher is to be imitated.
    """

    name: str
    task: Task
    net: Spec
    phases: tuple[Phase, ...]
    start: str = ""
    batch: int = 32
    learning_rate: float = 1e-3
    encoder_rate: float = 1.0
    frozen_stages: int = 0
    weight_decay: float = 0.01
    warmup_share: float = 0.02
    flat: float = 0.0
    drops: tuple[float, ...] = ()
    ema: float = 0.998
    augmentation: Augmentation = Augmentation()
    source_repeats: dict[str, float] = field(default_factory=dict)
    keypoint_confidence: dict[str, float] = field(default_factory=dict)
    distillation_weight: float = 0.0
    feature_distillation_weight: float = 0.0
    mirrored_teacher: bool = False
    distill_unlabeled: bool = True
    teacher_labels: TeacherLabels = TeacherLabels()
    sigma_share: float = 1 / 32
    evaluations: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.distillation_weight <= 1:
            raise ValueError(
                f"alpha is {self.distillation_weight:g}; expected 0 to 1: the teacher's share of the loss"
            )
        if not 0 <= self.feature_distillation_weight <= 1:
            raise ValueError(
                f"imitation is {self.feature_distillation_weight:g}; expected 0 to 1: the head's share of the loss"
            )
        if self.feature_distillation_weight and self.mirrored_teacher:
            raise ValueError(
                "a teacher is imitated on the crop as it is; expected no mirrored_teacher beside imitation"
            )

    @property
    def samples(self) -> int:
        """Samples of the whole run."""
        return sum(phase.samples for phase in self.phases)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return sum(phase.samples // self.batch for phase in self.phases)

    def phase_at(self, step: int) -> Phase:
        """Return the phase that a step belongs to."""
        for phase in self.phases:
            step -= phase.samples // self.batch
            if step < 0:
                return phase
        return self.phases[-1]

    def rate_at(self, step: int) -> float:
        """Return the learning rate's factor 0..1 at a step."""
        done = step / max(1, self.steps)
        if self.drops:
            return 0.1 ** sum(done >= drop for drop in self.drops)
        if done < self.warmup_share:
            return (step + 1) / max(1.0, self.warmup_share * self.steps)
        falls_from = self.warmup_share + self.flat
        return 0.5 * (
            1 + math.cos(math.pi * min(1.0, max(0.0, (done - falls_from) / (1 - falls_from))))
        )

    def to_json(self) -> str:
        """Return the recipe as JSON, for metadata."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Return the recipe that ``to_json`` wrote, here or in an earlier version: what it lacks is at its default.

        Raises:
            ValueError: If the text is not a recipe's, or a share in it is none.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            fields["net"] = spec_from_json(json.dumps(fields["net"]))
            fields["phases"] = tuple(_phase(phase) for phase in fields["phases"])
            fields["augmentation"] = Augmentation(**fields["augmentation"])
            fields["teacher_labels"] = TeacherLabels(**fields["teacher_labels"])
            fields["drops"] = tuple(fields.get("drops", ()))
            return cls(**fields)
        except (TypeError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"this does not describe a recipe: {error}") from error

    def with_changes(self, changes: Mapping[str, Any]) -> Recipe:
        """Return the same run with some settings changed: named as here, tables within tables, sizes as "256x192".

        Raises:
            ValueError: If a setting is unknown or of another kind.
        """
        return Recipe.from_json(json.dumps(_merged(json.loads(self.to_json()), changes)))

    def with_epochs_counted(self, samples_an_epoch: int) -> Recipe:
        """Return the same run with every phase's epochs counted in samples."""
        phases = tuple(
            dataclasses.replace(phase, samples=round(phase.epochs * samples_an_epoch), epochs=0.0)
            if phase.epochs
            else phase
            for phase in self.phases
        )
        return dataclasses.replace(self, phases=phases)

    def with_cached_teacher(self) -> Recipe:
        """Return the same run with a teacher that looks at every person once, beforehand."""
        phases = tuple(dataclasses.replace(phase, cached_teacher=True) for phase in self.phases)
        return dataclasses.replace(self, phases=phases)

    def with_net(self, net: Spec) -> Recipe:
        """Return the same run for this net, if it is the recipe's with some of its channels pruned; else the run."""
        mine = self.net
        if not isinstance(net, NetSpec) or not isinstance(mine, NetSpec):
            return self
        narrowed = dataclasses.replace(mine, inner_widths=net.inner_widths)
        return dataclasses.replace(self, net=narrowed) if narrowed.at(net.size) == net else self

    def scaled(self, factor: float) -> Recipe:
        """Return the same run with every phase shortened or lengthened by a factor."""
        phases = tuple(
            dataclasses.replace(phase, samples=max(self.batch, int(phase.samples * factor)))
            for phase in self.phases
        )
        return dataclasses.replace(self, phases=phases)


_OPEN = ("source_repeats", "keypoint_confidence")
_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a table",
}


def _merged(
    mine: Mapping[str, Any], changes: Mapping[str, Any], within: str = ""
) -> dict[str, Any]:
    """Return JSON's fields with some changed, each to a value of the same kind."""
    merged = dict(mine)
    for name, value in changes.items():
        where = f"{within}.{name}" if within else name
        if name not in mine and within not in _OPEN:  # those are named by the data
            raise ValueError(f"there is no setting {where}; expected one of {', '.join(mine)}")
        if name == "size" and isinstance(value, str):
            value = [*Size.parse(value)]
        kind = type(mine.get(name, 1.0))
        if type(value) is not kind and (type(value), kind) != (int, float):
            raise ValueError(f"{where} is {value!r}; expected {_KINDS[kind]}")
        merged[name] = _merged(mine[name], value, name) if isinstance(value, dict) else value
    return merged


def _phase(fields: Mapping[str, Any]) -> Phase:
    if fields.get("size") is None:
        raise ValueError("a phase has no size; expected for example 256x192")
    settings = dataclasses.asdict(Phase(size=Size(0, 0))) | {"size": []}
    merged = _merged(settings, fields, "phases")
    return Phase(**{**merged, "size": Size(*merged["size"])})
