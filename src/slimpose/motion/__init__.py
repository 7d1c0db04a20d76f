"""Motion of people over time: gaps, outliers and noise removed, angles, TRC, C3D, MOT and CSV.

from slimpose.motion import Scale, clean, compute_angles, read_motions, select, write_motion

motion = clean(select(read_motions(Path("walk.csv")), track_id=1))
scale = Scale.from_height(motion, height_m=1.75)
angles = compute_angles(motion.joints, scale.points(motion))
write_motion(Path("walk.trc"), motion, scale=scale, angles=angles)
"""

from slimpose.motion.angles import Angles, compute_angles
from slimpose.motion.cleaning import CleanMotion, CleanSettings, clean
from slimpose.motion.read import read_motions
from slimpose.motion.scale import Scale
from slimpose.motion.trajectory import Motion, select
from slimpose.motion.write import write_motion

__all__ = [
    "Angles",
    "CleanMotion",
    "CleanSettings",
    "Motion",
    "Scale",
    "clean",
    "compute_angles",
    "read_motions",
    "select",
    "write_motion",
]
