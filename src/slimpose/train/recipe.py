"""What a training run is, as data. ``recipes/`` holds the named ones."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field

from slimpose.arrays import Size
from slimpose.data.augment import Augmentation
from slimpose.data.people import TeacherLabels
from slimpose.network.spec import NetSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of the run: so many samples at this input size, augmented so strongly (1: as the recipe)."""

    size: Size
    samples: int
    augmentation: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One training run.

    Attributes:
        name: The command's word for it.
        task: "pose" or "detect".
        net: What is trained; its size is the one it is evaluated and exported at.
        phases: In order; the learning rate runs through all of them once.
        batch: Samples a step.
        learning_rate: AdamW's peak.
        encoder_rate: The encoder's learning rate as a share of it.
        frozen_stages: The encoder's stem and so many stages stay as they started: their maps are the largest, so
            a CPU step is half as long again as fast, and a start that knows people needs no new edges.
        weight_decay: AdamW's, on convolution weights only.
        warm_up: Share of the run in which the rate climbs; then a cosine takes it to zero.
        ema: Decay a step of the averaged weights, which are what is evaluated and kept.
        augmentation: How strongly samples are changed.
        source_repeats: How often a sample of a source is drawn in an epoch (1 where not named).
        teacher_labels: Whether to believe guesses for joints nobody annotated (pose only).
        sigma_share: Target Gaussian's standard deviation as a share of the heatmap's height (pose only).
        evaluations: How often the averaged weights are evaluated during the run, evenly spread.
        seed: Fixes order, augmentation and initial weights.
    """

    name: str
    task: str
    net: NetSpec
    phases: tuple[Phase, ...]
    batch: int = 32
    learning_rate: float = 1e-3
    encoder_rate: float = 1.0
    frozen_stages: int = 0
    weight_decay: float = 0.01
    warm_up: float = 0.02
    ema: float = 0.998
    augmentation: Augmentation = Augmentation()
    source_repeats: dict[str, float] = field(default_factory=dict)
    teacher_labels: TeacherLabels = TeacherLabels()
    sigma_share: float = 1 / 32
    evaluations: int = 12
    seed: int = 0

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
        import math

        done = step / max(1, self.steps)
        if done < self.warm_up:
            return (step + 1) / max(1.0, self.warm_up * self.steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - self.warm_up) / (1 - self.warm_up))))

    def to_json(self) -> str:
        """Return the recipe as JSON, for metadata."""
        return json.dumps(dataclasses.asdict(self))

    def scaled(self, factor: float) -> Recipe:
        """Return the same run with every phase shortened or lengthened by a factor."""
        phases = tuple(
            dataclasses.replace(phase, samples=max(self.batch, int(phase.samples * factor))) for phase in self.phases
        )
        return dataclasses.replace(self, phases=phases)
