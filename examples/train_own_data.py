"""Fine-tune the shipped pose network on COCO keypoints files, on a CPU (pip install '.[train]').

python examples/train_own_data.py out/ train.json train_images/ val.json val_images/    # hours
python examples/train_own_data.py out/ --demo    # four random people, a minute
"""

import sys
from pathlib import Path

from random_people import write_random_people
from slimpose.cli.main import main as slimpose

SHIPPED = Path(__file__).resolve().parents[1] / "models/mnv2/weights.safetensors"
RECIPE = """extends = "mnv2"
distillation_weight = 0
learning_rate = 3e-4
batch = {batch}
[[phases]]
size = "{size}"
samples = {samples}
"""


def main(out: Path, *data: str) -> None:
    """Write the recipe, then train; out/run has metrics.jsonl and best.safetensors."""
    out.mkdir(parents=True, exist_ok=True)
    recipe = RECIPE.format(batch=32, size="256x192", samples=50_000)
    if data == ("--demo",):
        data = (str(write_random_people(out)), str(out)) * 2
        recipe = RECIPE.format(batch=4, size="64x64", samples=8)
    (out / "recipe.toml").write_text(recipe)
    names = ("train", "images", "val", "val-images")
    options = [f"--{name}={value}" for name, value in zip(names, data, strict=True)]
    slimpose(["train", f"{out}/recipe.toml", f"--out={out}/run", f"--start={SHIPPED}", *options])


if __name__ == "__main__":
    if len(sys.argv) not in (3, 6):
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), *sys.argv[2:])
