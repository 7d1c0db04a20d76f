"""SLEAP's labels (``.slp``) and analysis files (HDF5), through the package sleap-io."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from slimpose.arrays import Size
from slimpose.formats.coco import CocoPerson
from slimpose.formats.files import replace_when_done
from slimpose.labels.interchange.label_data import (
    READ_ERRORS,
    Builder,
    LabelData,
    Progress,
    check_declared_size,
    no_progress,
    own_skeleton,
    reason_of,
    size_of,
)
from slimpose.media.image_writer import write_image
from slimpose.media.images import image_files
from slimpose.messages import quoted
from slimpose.skeleton import Skeleton


def read(path: Path, *, frames: Path | None, on_progress: Progress = no_progress) -> LabelData:
    """Read labels; frames of videos are written to the folder ``frames`` as PNG files.

    Instances that people labeled are read; those that SLEAP predicted only if there are no others.

    Raises:
        FileNotFoundError: If the file, an image or a video is missing.
        ValueError: If it is not such a file, or has frames of videos and ``frames`` is None.
    """
    labels = _load(path)
    skeletons = labels.skeletons
    if len(skeletons) != 1:
        raise ValueError(
            f"{path} has {len(skeletons)} skeletons; expected one: each kind of instance needs a "
            "model of its own"
        )
    (skeleton,) = skeletons
    builder = Builder(
        path=path,
        skeleton=own_skeleton(
            str(skeleton.name or "animal"),
            skeleton.node_names,
            limbs=[(str(a), str(b)) for a, b in skeleton.edge_names],
            flip_pairs=[tuple(pair) for pair in skeleton.symmetry_names] or None,
        ),
    )
    labeled = any(_is_user(one) for frame in labels for one in frame.instances)
    used = [
        (frame, [one for one in frame.instances if _is_user(one) or not labeled])
        for frame in labels
    ]
    used = [
        (frame, instances)
        for frame, instances in used
        if instances or not labeled or frame.is_negative
    ]
    images = _Images(path, labels.videos, frames)
    for done, (frame, instances) in enumerate(used, start=1):
        name, size = images.add(frame.video, int(frame.frame_idx))
        image_id = builder.add_image(name, size)
        for instance in instances:
            builder.add_instance(image_id, _keypoints(instance))
        on_progress(done, len(used))
    file, notes = builder.build()
    if empty := len(labels) - len(used):
        notes.append(f"{empty} frames without labeled instances are left out")
    predicted = sum(not _is_user(one) for frame in labels for one in frame.instances)
    if any(one.track is not None for _, instances in used for one in instances):
        notes.append("tracks, which instance is who, are not kept")
    if predicted and labeled:
        notes.append(f"{predicted} predicted instances are left out; labeled ones are read")
    elif predicted:
        notes.append(f"all {predicted} instances are predicted ones, labeled by no person")
    return LabelData(file=file, image_folder=images.folder, notes=tuple(notes))


def write(data: LabelData, path: Path) -> list[str]:
    """Write a ``.slp`` or an analysis file (``.h5``); return notes on what is lost.

    The images are named by their absolute paths, as SLEAP does.
    """
    sleap_io = _library()
    file = data.file
    skeleton = _skeleton(file.skeleton)
    is_analysis = path.suffix.lower() in (".h5", ".hdf5")
    labeled = {
        image_id: [one for one in people if one.is_labeled and not one.is_crowd]
        for image_id, people in file.people_by_image().items()
    }
    most = max(map(len, labeled.values()), default=0)
    tracks = [sleap_io.Track(f"instance{n}") for n in range(1, most + 1)] if is_analysis else []
    shown = {person.image_id for person in file.people}
    video, indices = _folder_video(data) if is_analysis else _image_video(data)
    frames = []
    for image_id, people in labeled.items():
        instances = [
            _instance(_known(person), skeleton, tracks[number] if is_analysis else None)
            for number, person in enumerate(people)
        ]
        frames.append(
            sleap_io.LabeledFrame(
                video=video,
                frame_idx=indices[image_id],
                instances=instances,
                is_negative=image_id not in shown,  # shows none, which is no missing label
            )
        )
    labels = sleap_io.Labels(
        labeled_frames=frames, videos=[video], skeletons=[skeleton], tracks=tracks
    )
    notes = ["boxes, areas and sigmas are not in SLEAP's files"]
    with replace_when_done(path) as partial:
        if is_analysis:
            sleap_io.save_analysis_h5(labels, str(partial))
            notes.append(
                "analysis files have no images without instances; hidden keypoints are visible"
            )
        else:
            sleap_io.save_slp(labels, str(partial), embed=False, verbose=False)
    return notes


def _known(person: CocoPerson) -> np.ndarray:
    assert person.keypoints is not None
    return person.keypoints


def _image_video(data: LabelData) -> tuple[Any, dict[int, int]]:
    """The images as SLEAP's video, and the frame of each."""
    sleap_io = _library()
    images = data.file.images.values()
    paths = [str((data.image_folder / one.file_name).resolve()) for one in images]
    return sleap_io.Video.from_filename(paths), {one.id: n for n, one in enumerate(images)}


def _folder_video(data: LabelData) -> tuple[Any, dict[int, int]]:
    """A folder as a video of its images in the order of their names, and the frame of each."""
    sleap_io = _library()
    images = data.file.images.values()
    folders = {(data.image_folder / one.file_name).resolve().parent for one in images}
    if len(folders) != 1:
        raise ValueError(
            f"{data.file.path} has images in {len(folders)} folders; expected one: an analysis "
            "file of SLEAP is of one video (write .slp instead)"
        )
    (folder,) = folders
    number = {file.name: index for index, file in enumerate(image_files(folder))}
    video = sleap_io.Video(filename=str(folder), open_backend=False)
    return video, {one.id: number[PurePosixPath(one.file_name).name] for one in images}


def _library() -> Any:
    """The package; its attributes are made when they are used, which type checkers cannot see."""
    import sleap_io

    return sleap_io


def _load(path: Path) -> Any:
    sleap_io = _library()
    if not path.is_file():
        raise FileNotFoundError(f"no SLEAP file {path}")
    try:
        if path.suffix.lower() == ".slp":
            return sleap_io.load_slp(str(path))
        return _load_analysis(path)
    except READ_ERRORS as error:
        raise ValueError(
            f"{path} cannot be read by sleap-io ({reason_of(error)}); expected a .slp file of "
            "SLEAP or one of its analysis files"
        ) from error


def _load_analysis(path: Path) -> Any:
    """Read an analysis file; sleap-io cannot read those of older versions of SLEAP."""
    import h5py

    sleap_io = _library()

    with h5py.File(path) as opened:
        file: Any = opened
        order = json.loads(file["tracks"].attrs.get("dims", '["track", "xy", "node", "frame"]'))
        axes = [order.index(name) for name in ("frame", "track", "node", "xy")]
        points = np.transpose(file["tracks"][:], axes)
        nodes = [name.decode() for name in file["node_names"][:]]
        edges = file["edge_inds"][:].tolist() if "edge_inds" in file else []
        symmetries = json.loads(file.attrs.get("skeleton_symmetries", "[]"))
        name = str(file.attrs.get("skeleton_name", ""))
        video_path = file["video_path"][()].decode() if "video_path" in file else ""
    if not video_path:
        raise ValueError("it names no video; expected an analysis file that was made with one")
    skeleton = sleap_io.Skeleton(nodes=nodes, edges=edges, name=name or None)
    for pair in symmetries:
        skeleton.add_symmetry(*pair)
    video = sleap_io.Video(filename=video_path, open_backend=False)
    frames = [
        sleap_io.LabeledFrame(
            video=video,
            frame_idx=index,
            instances=[
                sleap_io.PredictedInstance.from_numpy(one.astype(np.float64), skeleton=skeleton)
                for one in points[index]
                if np.isfinite(one).any()
            ],
        )
        for index in np.flatnonzero(np.isfinite(points).any(axis=(1, 2, 3))).tolist()
    ]
    return sleap_io.Labels(labeled_frames=frames, videos=[video], skeletons=[skeleton])


def _is_user(instance: object) -> bool:
    sleap_io = _library()
    return not isinstance(instance, sleap_io.PredictedInstance)


def _keypoints(instance: Any) -> np.ndarray:
    """x, y, v: points that SLEAP marks as not visible have a position and are hidden."""
    points = instance.points
    xy = np.array(points["xy"], np.float64).reshape(-1, 2)
    keypoints = np.zeros((len(xy), 3))
    known = np.isfinite(xy).all(axis=1)
    keypoints[known, :2] = xy[known]
    keypoints[known, 2] = np.where(np.array(points["visible"], bool)[known], 2, 1)
    return keypoints


def _skeleton(skeleton: Skeleton) -> Any:
    sleap_io = _library()
    partners = skeleton.flip_indices.tolist()
    symmetries = [[a, b] for a, b in enumerate(partners) if a < b]
    return sleap_io.Skeleton(
        nodes=list(skeleton.joints),
        edges=[list(limb) for limb in skeleton.limb_indices],
        symmetries=symmetries,
        name=skeleton.name,
    )


def _instance(keypoints: np.ndarray, skeleton: Any, track: Any) -> Any:
    sleap_io = _library()
    points = np.where(keypoints[:, 2:] > 0, keypoints[:, :2], np.nan).astype(np.float64)
    instance = sleap_io.Instance.from_numpy(points, skeleton=skeleton, track=track)
    hidden = keypoints[:, 2] == 1
    instance.points["xy"][hidden] = keypoints[hidden, :2]
    # An analysis file (with tracks) has no positions of joints that are not visible.
    instance.points["visible"] = keypoints[:, 2] >= (2 if track is None else 1)
    return instance


class _Images:
    """The images of labeled frames: files that exist, or frames that are written."""

    def __init__(self, path: Path, videos: Sequence[Any], frames: Path | None) -> None:
        self._path = path
        self._files = {id(video): _files(video) for video in videos}
        self._declared = {id(video): _declared_size(video) for video in videos}
        lists = [files for files in self._files.values() if files is not None]
        self._are_files = len(lists) == len(videos) > 0
        files = [str(_found(one, path)) for names in lists for one in names]
        if self._are_files:
            self.folder = Path(os.path.commonpath([str(Path(one).parent) for one in files]))
        elif frames is None:
            name = next((one.filename for one in videos if _files(one) is None), "none")
            raise ValueError(
                f"{path} labels frames of videos, such as {Path(str(name)).name}; expected "
                "--frames FOLDER to write them to as images"
            )
        else:
            self.folder = frames
        stems = Counter(Path(str(video.filename)).stem for video in videos)
        self._names = {
            id(video): Path(str(video.filename)).stem.removesuffix(".pkg")
            + (f"-{number}" if stems[Path(str(video.filename)).stem] > 1 else "")
            for number, video in enumerate(videos)
        }

    def add(self, video: Any, index: int) -> tuple[str, Size]:
        """Return the name of a frame's image, relative to the folder, and its size."""
        if self._are_files:
            files = self._files[id(video)]
            if files is None or index >= len(files):
                raise ValueError(
                    f"{self._path} labels frame {index} of {quoted(str(video.filename))}; expected "
                    f"one of its {len(files or [])} images (images removed?)"
                )
            file = _found(files[index], self._path)
            size = size_of(file)
            if index == 0:  # the size that is stored is the first image's
                check_declared_size(self._path, file.name, size, self._declared[id(video)])
            return file.relative_to(self.folder).as_posix(), size
        name = f"{self._names[id(video)]}/{index:06d}.png"
        try:
            image = np.asarray(self._opened(video)[index])
        except (OSError, ValueError, IndexError, RuntimeError) as error:
            raise FileNotFoundError(
                f"{self._path}: frame {index} of {quoted(str(video.filename))} cannot be read "
                f"({error}); expected the video where the file says, or next to it (moved?)"
            ) from error
        size = Size(*image.shape[:2])
        check_declared_size(self._path, str(video.filename), size, self._declared[id(video)])
        target = self.folder / name
        if image.ndim == 2 or image.shape[2] == 1:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
        write_image(target, image)
        return name, size

    def _opened(self, video: Any) -> Any:
        """The video, from where it was or from next to the labels."""
        if not video.exists():
            near = _found(Path(str(video.filename).replace("\\", "/")), self._path)
            video.replace_filename(str(near))
        if not video.is_open:
            video.open()
        return video


def _declared_size(video: Any) -> Size | None:
    """The size of a video's frames when it was labeled, where the file has it."""
    stored = video.backend_metadata
    shape = stored.get("shape") or (0, stored.get("height_"), stored.get("width_"), 0)
    is_known = len(shape) == 4 and all(isinstance(side, int) and side > 0 for side in shape[1:3])
    return Size(*shape[1:3]) if is_known else None


def _files(video: Any) -> list[Path] | None:
    """The files of a video that is a list or a folder of images; None of a real video."""
    if isinstance(video.filename, list):
        return [Path(one) for one in video.filename]
    folder = Path(str(video.filename))
    return image_files(folder) if folder.is_dir() else None


def _found(file: Path, labels: Path) -> Path:
    """An image where it was labeled, or next to the labels, at as much of its path as there is."""
    if file.is_file():
        return file.absolute()
    for folder in labels.absolute().parents[:4]:
        for count in range(len(file.parts) - 1, 0, -1):
            near = folder.joinpath(*file.parts[-count:])
            if near.is_file():
                return near
    raise FileNotFoundError(
        f"{labels} names {file}, which does not exist, nor next to {labels.name} (moved?)"
    )
