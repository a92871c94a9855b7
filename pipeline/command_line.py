"""One clip, marked on the command line: the manifest entry that --video, --box and --point mean."""

import os
from collections import defaultdict
from collections.abc import Sequence
from itertools import count, groupby
from operator import itemgetter
from pathlib import PurePosixPath

from pydantic import ValidationError

from pipeline import storage
from pipeline.complaints import explain
from pipeline.config import ConfigError
from pipeline.manifest import Direction, ManifestError, VideoEntry, known_keys
from pipeline.uris import local_path

Box = tuple[float, float, float, float]  # x1, y1, x2, y2
Click = tuple[float, float, int]  # x, y, label
At = tuple[int, int]  # object, frame


def parse_box(text: str) -> tuple[int, Box]:
    """A text FRAME:X1,Y1,X2,Y2 -> the frame and the box."""
    try:
        frame, values = text.split(":")
        x1, y1, x2, y2 = map(float, values.split(","))
        return int(frame), (x1, y1, x2, y2)
    except ValueError:
        form = "FRAME:X1,Y1,X2,Y2, such as 0:10,20,200,220"
        raise ValueError(f"box '{text}' is not of the form {form}") from None


def parse_point(text: str) -> tuple[int, Click]:
    """A text FRAME:X,Y,LABEL -> the frame and the point; label 1: on the object, 0: beside it."""
    try:
        frame, values = text.split(":")
        x, y, label = values.split(",")
        return int(frame), (float(x), float(y), int(label))
    except ValueError:
        form = "FRAME:X,Y,LABEL, such as 0:210,350,1"
        raise ValueError(f"point '{text}' is not of the form {form}") from None


def _parse_frames(text: str) -> tuple[int, int]:
    """A text FIRST:STOP -> the two frames."""
    try:
        first, stop = map(int, text.split(":"))
        return first, stop
    except ValueError:
        raise ValueError(f"frames '{text}' are not of the form FIRST:STOP, as in 0:600") from None


def one_video(
    video: str,
    boxes: Sequence[str] = (),
    points: Sequence[str] = (),
    direction: Direction = "forward",
    frames: str | None = None,
) -> VideoEntry:
    """The entry of one clip; without boxes and points, its objects are to be discovered.

    Every box is a new object: 1, 2, … in their order. The points are those of object 1. An
    object's number in front says otherwise, as in 2@0:210,350,1, and with several boxes every
    point must have one.
    Raises ValueError for texts that cannot be read, ManifestError for what they cannot mean.
    """
    box_at = _boxes(boxes)
    points_at = _points(points, several_boxes=len(boxes) > 1)
    objects = [
        {
            "object_id": object_id,
            "direction": direction,
            "prompts": [_prompt(at[1], box_at.get(at), points_at.get(at, [])) for at in marks],
        }
        for object_id, marks in groupby(sorted({*box_at, *points_at}), key=itemgetter(0))
    ]
    uri = video if "://" in video else storage.filesystem(video)[1]
    entry = {
        "video_id": PurePosixPath(video).stem,
        "uri": uri,
        "frames": _parse_frames(frames) if frames else None,
        "objects": objects or None,
    }
    try:
        return VideoEntry.model_validate(entry)
    except ValidationError as error:
        raise ManifestError(video, list(explain(error, known_keys))) from None


def refuse_missing(video: str) -> None:
    """Raises ConfigError for a local clip that is not there."""
    path = local_path(video)
    if path and not os.path.exists(path):
        raise ConfigError(f"--video {video}: no such file or folder is found; correct its path")


def _boxes(texts: Sequence[str]) -> dict[At, Box]:
    owned = [_owner(text) for text in texts]
    named = {object_id for object_id, _ in owned}
    free = (number for number in count(1) if number not in named)
    boxes: dict[At, Box] = {}
    for object_id, text in owned:
        frame, box = parse_box(text)
        at = (next(free) if object_id is None else object_id, frame)
        if at in boxes:
            raise ValueError(f"object {at[0]} has two boxes on frame {frame}")
        boxes[at] = box
    return boxes


def _points(texts: Sequence[str], several_boxes: bool) -> dict[At, list[Click]]:
    points: dict[At, list[Click]] = defaultdict(list)
    for text in texts:
        object_id, rest = _owner(text)
        if object_id is None and several_boxes:
            raise ValueError(f"point '{text}' needs its object's number in front, as in 2@{text}")
        frame, point = parse_point(rest)
        points[1 if object_id is None else object_id, frame].append(point)
    return points


def _prompt(frame: int, box: Box | None, points: list[Click]) -> dict[str, object]:
    return {
        "frame": frame,
        "box": box,
        "points": [(x, y) for x, y, _ in points],
        "point_labels": [label for _, _, label in points],
    }


def _owner(text: str) -> tuple[int | None, str]:
    number, at, rest = text.rpartition("@")
    if not at:
        return None, text
    if not number.isdecimal():
        raise ValueError(f"'{text}' must begin with an object's number, as in 2@0:210,350,1")
    return int(number), rest
