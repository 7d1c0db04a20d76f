"""``slimpose adopt``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from slimpose.cli.model_file_options import ModelFileOptions
from slimpose.cli.output_paths import check_output_paths
from slimpose.cli.sample_crops import sample_crops
from slimpose.runtime.sample_photos import sample_photos_folder
from slimpose.runtime.session import Session

_PEOPLE = 32


def adopt(
    file: Path,
    /,
    out: Path,
    license_text: Annotated[str, "--license"],
    origin: str,
    model_file: ModelFileOptions,
    images: Path | None = None,
) -> int:
    """Write a file of slimpose from a heatmap or SimCC network of another project.

    The new file takes pixels and gives points: normalization and decoding are in its graph, and
    its metadata says what it is. So every command takes it, quantize and export included. It is
    compared with the original on people before it is written.

    Args:
        file: The ONNX file.
        out: The ONNX file to write.
        license_text: License of the weights, such as Apache-2.0.
        origin: Where the file comes from: project, address, version.
        model_file: What the file does not say itself.
        images: Folder of images with people to compare on; a checkout's sample photos by default,
            noise where there are none.
    """
    from slimpose.export.adopt import adopt as write_adopted
    from slimpose.export.adopt import check_texts
    from slimpose.export.onnx import smooth_noise_images

    if out.suffix.lower() != ".onnx":
        raise ValueError(f"--out is {out}; expected an ONNX file to write")
    check_texts([("--license", license_text), ("--origin", origin)])
    check_output_paths({"--out": out}, {}, [file])
    model_file.remember(str(file))
    size, folder = Session(file).info.size, images or sample_photos_folder()
    crops = (
        smooth_noise_images(8, size)
        if folder is None
        else sample_crops(folder, None, size=size, people=_PEOPLE)[0]
    )
    drift = write_adopted(file, out, license_text=license_text, origin=origin, images=crops)
    print(
        f"{out}: differs from {file.name} by at most {drift.pixels:.3g} px and {drift.maps:.3g} in "
        f"scores on {len(crops)} {'crops of noise' if folder is None else 'people'}"
    )
    return 0
