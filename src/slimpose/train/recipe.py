"""A training run as data. ``recipes/`` contains the named ones."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from slimpose import fields
from slimpose.arrays import Size
from slimpose.data.augment import Augmentation
from slimpose.data.people import TeacherLabels
from slimpose.messages import printable
from slimpose.network.build import Spec, spec_from_json
from slimpose.network.high_resolution import HighResolutionSpec
from slimpose.network.spec import NetSpec
from slimpose.tasks import Task
from slimpose.train.options import RecipeOptions
from slimpose.train.recipe_checks import TRAINED_TASKS, check_recipe

_DEFAULT_DISTILLATION_WEIGHT = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of the run with one input size and one strength of augmentation.

    Attributes:
        size: Input size.
        samples: Samples in this phase.
        epochs: Instead of ``samples``; converted once the data are known.
        augmentation: Factor on the recipe's augmentation.
        cached_teacher: Use a teacher that runs on every person once, before training, instead of
            one that runs on every crop (pose only).
        teacher_size: Input size of a teacher that runs on every crop, if not ``size``: the same
            part of the image with more pixels (pose only).
    """

    size: Size
    samples: int = 0
    epochs: float = 0.0
    augmentation: float = 1.0
    cached_teacher: bool = False
    teacher_size: Size | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One training run.

    Attributes:
        name: Its name on the command line.
        task: "pose" or "detect".
        net: The network to train; its size is the one for export.
        phases: In order; one learning rate schedule covers all of them.
        start: Default for ``--start``: "imagenet", a shipped model's name, or "" for random
            weights.
        batch: Samples per step, of all processes together.
        learning_rate: AdamW's peak learning rate.
        encoder_rate: The encoder's learning rate as a share of it.
        relative_rate: Learning rates are relative to the magnitude of each channel's weights, as
            networks without batch norm need (``train/relative_adam.py``).
        frozen_stages: How many of the encoder's stages, besides its stem, are not trained: their
            maps are the largest, so a CPU step is half as long again as fast, and an encoder that
            was trained on people needs no new edges. With random weights all are trained.
        weight_decay: AdamW's, on convolution weights only; with 0 it is Adam.
        warmup_share: Share of the run in which the learning rate rises.
        flat: Share of the run in which it then stays at its peak, before a cosine decay to zero.
        drops: Instead of warmup, flat and cosine: shares of the run after each of which the
            learning rate is divided by ten.
        ema: Decay per step of the averaged weights, which are evaluated and saved; 0 keeps the
            last.
        augmentation: How strongly samples are changed.
        source_repeats: How often a sample of a source is drawn per epoch (default 1).
        keypoint_confidence: Factor on the weights of a source's labels (default 1); 0 leaves its
            people to the teacher (pose only).
        distillation_weight: The teacher's share of the loss, 0 to 1; alpha in the paper. 0 trains
            without a teacher.
        feature_distillation_weight: Share, 0 to 1, of the loss that compares features with the
            teacher's: those of the head, and of the encoder where both are equally wide (pose only,
            ``train/feature_distillation.py``). The student starts with the teacher's
            deconvolutions.
        mirrored_teacher: Run the teacher on the flipped crop too and learn from the mean: that
            costs twice as much and gains what a flip test gains (not for a cached teacher).
        distill_unlabeled: Learn joints without a label from the teacher too (pose only).
        teacher_labels: When to use a file's pseudo labels for joints without an annotation (pose
            only).
        sigma_share: Standard deviation of the target Gaussian as a share of the heatmap's height
            (pose only).
        sizes_from_boxes: Change the phases' and the network's sizes to the shape of most boxes,
            with about the same area (pose only).
        evaluations: Number of evaluations of the averaged weights, evenly spread over the run.
        patience: Stop after this many evaluations at the final size without a better AP; 0 never
            stops.
        seed: Determines order, augmentation and initial weights.

    Raises:
        ValueError: If a setting cannot be meant, or features are to be distilled from a mirrored
            teacher.
    """

    name: str
    task: Task
    net: Spec
    phases: tuple[Phase, ...]
    start: str = ""
    batch: int = 32
    learning_rate: float = 1e-3
    encoder_rate: float = 1.0
    relative_rate: bool = False
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
    sizes_from_boxes: bool = False
    evaluations: int = 12
    patience: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("distillation_weight", "feature_distillation_weight"):
            if not 0 <= (share := fields.number(getattr(self, name), name)) <= 1:
                raise ValueError(f"{name} is {share:g}; expected 0 to 1: its share of the loss")
        if self.feature_distillation_weight and self.mirrored_teacher:
            raise ValueError(
                "feature distillation uses the teacher's features of the plain crop; expected no"
                " mirrored_teacher"
            )
        if self.task not in TRAINED_TASKS:
            raise fields.fail("task", self.task, f"one of {', '.join(TRAINED_TASKS)}")
        check_recipe(self)

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
        """Return the learning rate at a step as a share 0..1 of its peak."""
        done = step / max(1, self.steps)
        if self.drops:
            return 0.1 ** sum(done >= drop for drop in self.drops)
        if done < self.warmup_share:
            return (step + 1) / max(1.0, self.warmup_share * self.steps)
        decay_start = self.warmup_share + self.flat
        decayed = min(1.0, max(0.0, (done - decay_start) / (1 - decay_start)))
        return 0.5 * (1 + math.cos(math.pi * decayed))

    def to_json(self) -> str:
        """Return the recipe as JSON, for metadata."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Return the recipe that ``to_json`` wrote; settings that are missing get their defaults.

        Raises:
            ValueError: If the text is not a recipe, or a distillation weight is not a share.
        """
        settings = dict(fields.table(fields.from_json(text, "the recipe"), "the recipe").values)
        builders: dict[str, Callable[[Any], Any]] = {
            "net": lambda value: spec_from_json(json.dumps(value)),
            "phases": lambda value: tuple(
                _phase(phase, f"phases[{index}]")
                for index, phase in enumerate(fields.items(value, "phases"))
            ),
            "augmentation": lambda value: fields.build(Augmentation, value, "augmentation"),
            "teacher_labels": lambda value: fields.build(TeacherLabels, value, "teacher_labels"),
            "drops": lambda value: tuple(fields.items(value, "drops")),
        }
        for name, made in builders.items():
            if name in settings:
                settings[name] = made(settings[name])
        return fields.build(cls, settings, "the recipe")

    def with_changes(self, changes: Mapping[str, Any]) -> Recipe:
        """Return a copy with some settings changed: nested tables as in TOML, sizes as "256x192".

        With other phases the network has the size of their last one, if no size is given: it is
        exported at the size that it was trained and measured at.

        Raises:
            ValueError: If a setting is unknown or of another type.
        """
        recipe = Recipe.from_json(json.dumps(_merged(json.loads(self.to_json()), changes)))
        if "phases" not in changes or "size" in changes.get("net", {}):
            return recipe
        return dataclasses.replace(recipe, net=recipe.net.at(recipe.phases[-1].size))

    def with_options(self, options: RecipeOptions) -> Recipe:
        """Return a copy changed by command line options; ``for_data`` applies ``length``.

        Raises:
            ValueError: If options contradict each other or the recipe.
        """
        weight = options.distillation_weight
        if options.batch < 0 or not 0 < options.length < math.inf:
            raise ValueError(
                f"got --length {options.length:g} --batch {options.batch}; expected a length above"
                " 0, and a batch of 0 or more"
            )
        if options.unlabeled is not None and self.task == "pose":
            raise ValueError(
                f"{self.name} trains a pose network; --unlabeled images are for detectors"
            )
        if (options.cached_teacher or options.labeled_only) and (
            options.teacher is None or self.task != "pose"
        ):
            raise ValueError(
                "--cached-teacher and --labeled-only are for pose networks with a --teacher"
            )
        if options.teacher is None and weight != 0 and (self.distillation_weight or weight):
            share = self.distillation_weight if weight is None else weight
            raise ValueError(
                f"{self.name} with a distillation weight of {share:g} needs a teacher; pass"
                " --teacher FILE, or --distillation-weight 0 to train without one"
            )
        changes: dict[str, Any] = {"batch": options.batch or self.batch}
        if options.teacher is None and weight == 0:
            changes |= {"distillation_weight": 0.0, "feature_distillation_weight": 0.0}
        elif options.teacher is not None:
            default = self.distillation_weight or _DEFAULT_DISTILLATION_WEIGHT
            changes["distillation_weight"] = default if weight is None else weight
        if options.labeled_only:
            changes["distill_unlabeled"] = False
        recipe = dataclasses.replace(self, **changes)
        return recipe.with_cached_teacher() if options.cached_teacher else recipe

    def for_data(
        self,
        *,
        samples_per_epoch: int,
        length: float,
        joints: int,
        start_net: Spec | None,
        box_shape: float = 1.0,
    ) -> Recipe:
        """Return a copy that fits the data and the weights to start from.

        ``length`` is a factor on the samples of each phase, ``joints`` are the data's (a detector
        ignores them), ``start_net`` is the network of the weights to start from, if they name it,
        ``box_shape`` is the height of most boxes per width, for ``sizes_from_boxes``.
        """
        recipe = self.with_epochs_counted(samples_per_epoch)
        recipe = recipe.scaled(length) if length != 1.0 else recipe
        if recipe.task != "pose":
            return recipe
        recipe = dataclasses.replace(recipe, net=dataclasses.replace(recipe.net, joints=joints))
        if recipe.sizes_from_boxes:
            recipe = recipe.with_shape(box_shape)
        return recipe.with_pruned_net(start_net) if start_net is not None else recipe

    def with_epochs_counted(self, samples_per_epoch: int) -> Recipe:
        """Return a copy with every phase's epochs converted to samples."""

        def counted(phase: Phase) -> Phase:
            samples = round(phase.epochs * samples_per_epoch) if phase.epochs else phase.samples
            return dataclasses.replace(phase, samples=samples, epochs=0.0)

        return dataclasses.replace(self, phases=tuple(map(counted, self.phases)))

    def with_shape(self, height_per_width: float) -> Recipe:
        """Return a copy with sizes of another shape and about the same area, multiples of 32.

        >>> from slimpose.train.recipes import load_recipe
        >>> load_recipe("own").with_shape(1.0).net.size
        Size(height=224, width=224)
        """

        def reshaped(size: Size) -> Size:
            area, shape = size.height * size.width, min(2.0, max(0.5, height_per_width))
            width = max(32, 32 * round((area / shape) ** 0.5 / 32))
            return Size(max(32, 32 * round(area / width / 32)), width)

        phases = tuple(
            dataclasses.replace(phase, size=reshaped(phase.size)) for phase in self.phases
        )
        net = self.net.at(reshaped(self.net.size))
        return dataclasses.replace(self, phases=phases, net=net)

    def with_cached_teacher(self) -> Recipe:
        """Return a copy whose teacher runs on every person once, before training."""
        phases = tuple(dataclasses.replace(phase, cached_teacher=True) for phase in self.phases)
        return dataclasses.replace(self, phases=phases)

    def with_pruned_net(self, net: Spec) -> Recipe:
        """Return a copy for ``net`` if it is the recipe's with channels pruned; else ``self``.

        ``net`` may have another input size and other joints: its head will be new.
        """
        pruned_kinds = (NetSpec, HighResolutionSpec)
        if not isinstance(net, pruned_kinds) or not isinstance(self.net, pruned_kinds):
            return self
        pruned = dataclasses.replace(self.net, inner_widths=net.inner_widths)
        fitted = dataclasses.replace(net.at(pruned.size), joints=pruned.joints)
        return dataclasses.replace(self, net=pruned) if pruned == fitted else self

    def scaled(self, factor: float) -> Recipe:
        """Return a copy with every phase's samples multiplied by a factor, at least one batch."""
        phases = tuple(
            dataclasses.replace(phase, samples=max(self.batch, int(phase.samples * factor)))
            for phase in self.phases
        )
        return dataclasses.replace(self, phases=phases)


_FREE_KEYS = ("source_repeats", "keypoint_confidence")
"""Tables whose keys come from the data."""
_KINDS = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a table",
}


def _merged(
    settings: Mapping[str, Any], changes: Mapping[str, Any], table: str = ""
) -> dict[str, Any]:
    """Return JSON's settings with some changed, each to a value of the same type."""
    merged = dict(settings)
    for name, value in changes.items():
        path = f"{table}.{name}" if table else name
        if name not in settings and table not in _FREE_KEYS:
            raise ValueError(
                f"there is no setting {printable(path)}; expected one of {', '.join(settings)}"
            )
        if name in ("size", "teacher_size") and isinstance(value, str):
            value = [*Size.parse(value)]
        kind = type(settings.get(name, 1.0))
        if type(value) is not kind and (type(value), kind) != (int, float):
            raise fields.fail(path, value, _KINDS[kind])
        if kind is float and isinstance(value, int):
            value = fields.number(value, path)
        merged[name] = _merged(settings[name], value, name) if isinstance(value, dict) else value
    return merged


def _phase(value: object, what: str) -> Phase:
    settings = fields.table(value, what, "a table").values
    if settings.get("size") is None:
        raise ValueError(f"{what} has no size; expected for example 256x192")
    settings = {name: value for name, value in settings.items() if value is not None}
    defaults = dataclasses.asdict(Phase(size=Size(0, 0))) | {"size": [], "teacher_size": []}
    merged = _merged(defaults, settings, "phases")

    def size_of(name: str) -> Size:
        sides = fields.numbers(merged[name], f"{what}: {name}", count=2, expected="height, width")
        return Size(*map(int, sides))

    teacher_size = size_of("teacher_size") if merged["teacher_size"] else None
    return Phase(**{**merged, "size": size_of("size"), "teacher_size": teacher_size})
