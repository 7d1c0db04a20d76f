"""A folder to start training one's own keypoints in: recipe, skeleton, commands."""

from __future__ import annotations

import json
from pathlib import Path

from slimpose.formats.files import write_text
from slimpose.formats.skeleton_file import read_skeleton
from slimpose.skeleton import Skeleton

RECIPE, SKELETON, README = "recipe.toml", "skeleton.toml", "README.md"


def write_project(folder: Path, skeleton: Skeleton, labels: str) -> list[Path]:
    """Write the files of a project; return their paths.

    Args:
        folder: The project's folder, new or empty.
        skeleton: Its keypoints, with what is known of pairs and limbs.
        labels: The label file that the commands read first, relative to the folder.

    Raises:
        FileExistsError: If the folder has files already.
        ValueError: If it cannot be written to.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists and is not empty; expected a new folder")
    texts = {
        RECIPE: _RECIPE,
        SKELETON: _skeleton_text(skeleton),
        README: _README.format(name=folder.name, labels=labels),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    (folder / "images").mkdir()
    read_skeleton(folder / SKELETON)
    return [folder / name for name in texts]


_RECIPE = """\
# slimpose train recipe.toml: what differs from the recipe "own" (slimpose train --help).
extends = "own"

# learning_rate = 2e-3
# patience = 6              # evaluations without a better AP after which training stops
# augmentation.rotation_deg = 40.0
"""

_README = """\
# {name}

Run these in this folder. `slimpose COMMAND --help` explains every option.

```
# 1. Labels of your tool (YOLO, SLEAP, DeepLabCut, COCO) as COCO keypoints:
slimpose convert {labels} --out labels.json

# 2. Faults and suspicious labels, on the page check/index.html:
slimpose check labels.json --images images --out check

# 3. Train; a fifth of the images is held out:
slimpose train recipe.toml --train labels.json --images images --skeleton skeleton.toml --out run

# 4. A model file, and its poses drawn on images:
slimpose export run/best.safetensors --out model.onnx
slimpose predict images --model model.onnx --boxes labels.json --out drawn

# 5. The 100 images of new ones that are worth labeling most, with labels to correct in CVAT or
#    FiftyOne (other objects than people need an own detector: slimpose train own-detector):
slimpose label new-images --model model.onnx --limit 100 --copy-images to-label --out to-label.json
```

Corrected labels go back into training with `--start run/best.safetensors --out run-2`.
"""


def _skeleton_text(skeleton: Skeleton) -> str:
    """The skeleton as TOML: what is known as values, what is not as comments."""
    lines = [
        "# slimpose train --skeleton skeleton.toml: keypoints in the order of the labels.",
        f"name = {_text(skeleton.name)}",
        f"keypoints = {_texts(skeleton.joints)}",
        "",
        "# Keypoints that exchange places in a mirrored image; [] if left and right have no names.",
    ]
    indices = skeleton.flip_indices.tolist()
    named = [(skeleton.joints[a], skeleton.joints[b]) for a, b in enumerate(indices) if a < b]
    pairs = named if skeleton.flip_pairs is None else list(skeleton.flip_pairs)
    unpaired = skeleton.mirror.unpaired
    if unpaired:
        lines.append(f"# Without a partner, training stops: {_texts(unpaired)}")
    # [] would say that there are none, where that is not known.
    is_known = skeleton.flip_pairs is not None or (named and not unpaired)
    lines.append(f"{'' if is_known else '# '}flip_pairs = {_pairs(pairs)}")
    lines += ["", "# Lines that are drawn; found from the labels if left out."]
    shown = _pairs(skeleton.limbs or ((skeleton.joints[0], skeleton.joints[-1]),))
    lines.append(f"limbs = {shown}" if skeleton.limbs else f"# limbs = {shown}")
    lines += [
        "",
        "# Tolerances of OKS, as shares of the object's size; found from the labels if left out.",
        f"sigmas = {list(skeleton.sigmas)}" if skeleton.sigmas else "# sigmas = 0.05",
    ]
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    """A TOML string: JSON's, with its escapes."""
    return json.dumps(value, ensure_ascii=False)


def _texts(values: tuple[str, ...]) -> str:
    return "[" + ", ".join(map(_text, values)) + "]"


def _pairs(pairs: object) -> str:
    assert isinstance(pairs, list | tuple)
    return "[" + ", ".join(_texts(tuple(pair)) for pair in pairs) + "]"
