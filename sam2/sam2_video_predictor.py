"""Objects followed through a video, under the published names. A thin face over `sam2.session`."""

from collections.abc import Callable, Hashable, Iterator
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sam2.build_sam import build_sam2_video_predictor_hf
from sam2.config import ModelConfig
from sam2.frames import VideoSource
from sam2.inference_state import InferenceState, show, state_of
from sam2.modeling.sam2_base import SAM2Base, Settings
from sam2.object_track import Track
from sam2.prompt_arrays import Numbers, PromptError, read_boxes, read_points
from sam2.prompts import MaskPrompt, PointPrompt
from sam2.session import Frames, NoPromptError, Session, strongest_only, upscale
from sam2.session_file import load_session, save_session
from sam2.utils import misc
from sam2.utils.misc import load_video_frames

Logits = Tensor  # (objects, 1, H, W), float32; more than 0 is object
FrameLogits = tuple[int, list[Hashable], Logits]  # a frame, the objects, and their logits on it

HISTORY = 100  # frames kept of each object by default: 75 MiB in the published models
_COMPILE_MODE = "max-autotune-no-cudagraphs"  # CUDA graphs would overwrite what is remembered


class SAM2VideoPredictor(SAM2Base):
    """Prompt objects on any frame, then follow them through the video.

    What is known of a video is its state, which `init_state` makes and all other methods take.
    """

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> "SAM2VideoPredictor":
        """A predictor with the weights of a Hugging Face id, such as facebook/sam2.1-hiera-tiny."""
        return build_sam2_video_predictor_hf(model_id, **kwargs)

    def init_state(
        self,
        video_path: VideoSource,
        offload_video_to_cpu: bool = False,
        offload_state_to_cpu: bool = False,
        async_loading_frames: bool = False,
        keep_history: bool | int = HISTORY,
    ) -> InferenceState:
        """Opens a video: its frames are read when they are needed, and only a few are kept.

        It may be a folder of JPEG files, a video file (a path, a URI, an open file), an array
        (N, H, W, 3), a list of pictures, or an iterator of them: a stream.

        Memory does not grow with the video. Each object keeps its `keep_history` newest tracked
        frames, and those close enough to a prompted frame to be read when a walk starts there. So
        walks forwards and in reverse, from a prompt or from where the last one ended, are exact.
        A correction further back finds neither the mask before it nor the memories around it, and
        a walk from there, say with an object added later, lacks the memories of the others and
        gives a ForgottenWarning; with `keep_history=True`, as in the published package, nothing is
        ever dropped.
        """
        images, height, width = _frame_loader()(
            video_path=video_path,
            image_size=self.image_size,
            offload_video_to_cpu=offload_video_to_cpu,
            async_loading_frames=async_loading_frames,
            compute_device=self.device,
        )
        session = Session(
            self,
            images,
            (height, width),
            history=None if keep_history is True else int(keep_history),
            storage=torch.device("cpu") if offload_state_to_cpu else None,
        )
        return InferenceState(
            session,
            {
                "offload_video_to_cpu": offload_video_to_cpu,
                "offload_state_to_cpu": offload_state_to_cpu,
                "constants": {},
            },
        )

    # ---- prompts

    def add_new_points_or_box(
        self,
        inference_state: InferenceState,
        frame_idx: int,
        obj_id: Hashable,
        points: Numbers | None = None,
        labels: Numbers | None = None,
        clear_old_points: bool = True,
        normalize_coords: bool = True,
        box: Numbers | None = None,
    ) -> FrameLogits:
        """Says where an object is by clicks or a box, or corrects what was found.

        Points (N, 2) with labels (N,), 1 on the object and 0 off it; a box is xyxy. They are pixels
        or, without `normalize_coords`, 0..1. `clear_old_points=False` adds to this frame's points.
        """
        session = self._session(inference_state)
        if box is not None and not clear_old_points:
            raise PromptError(
                "A box cannot be added to earlier points: pass clear_old_points=True, and with the "
                "box all points that are to count."
            )
        size = session.frame_size
        prompt = _point_prompt(points, labels, box, size, (1, 1) if not normalize_coords else size)
        logits = session.prompt(obj_id, frame_idx, prompt, extend=not clear_old_points)
        show(inference_state)
        return frame_idx, list(session.tracks), logits[:, None]

    add_new_points = add_new_points_or_box  # the name it had before it took boxes

    def add_new_mask(
        self, inference_state: InferenceState, frame_idx: int, obj_id: Hashable, mask: Numbers
    ) -> FrameLogits:
        """Says what an object is by its mask (H, W), of any size; all but 0 is object."""
        session = self._session(inference_state)
        # Copied, as a tensor cannot lie in every array: not in one that is mirrored, for instance.
        drawn = mask if isinstance(mask, Tensor) else torch.from_numpy(np.array(mask, order="C"))
        if drawn.ndim != 2:
            raise PromptError(
                f"The mask has the shape {tuple(drawn.shape)}: pass one object's mask, (H, W)."
            )
        logits = session.prompt(obj_id, frame_idx, MaskPrompt(drawn != 0))
        show(inference_state)
        return frame_idx, list(session.tracks), logits[:, None]

    def clear_all_prompts_in_frame(
        self,
        inference_state: InferenceState,
        frame_idx: int,
        obj_id: Hashable,
        need_output: bool = True,
    ) -> FrameLogits | None:
        """Takes back what was said of an object on a frame."""
        session = self._session(inference_state)
        session.clear_prompt(obj_id, frame_idx)
        show(inference_state)
        if not need_output:
            return None
        return frame_idx, list(session.tracks), session.logits(frame_idx)[:, None]

    def remove_object(
        self,
        inference_state: InferenceState,
        obj_id: Hashable,
        strict: bool = False,
        need_output: bool = True,
    ) -> tuple[list[Hashable], list[tuple[int, Logits]]]:
        """Forgets an object: the objects left, and their logits where it had been prompted."""
        session = self._session(inference_state)
        if obj_id not in session.tracks:
            if strict:
                raise NoPromptError(f"There is no object {obj_id!r}: {list(session.tracks)}.")
            return list(session.tracks), []
        prompted = sorted(session.tracks[obj_id].prompts)
        session.remove(obj_id)
        show(inference_state)
        shown = prompted if need_output and session.tracks else []
        return list(session.tracks), [(f, session.logits(f)[:, None]) for f in shown]

    def reset_state(self, inference_state: InferenceState) -> None:
        """Forgets all objects, and keeps the video."""
        self._session(inference_state).reset()
        show(inference_state)

    # ---- tracking

    def propagate_in_video_preflight(self, inference_state: InferenceState) -> None:
        """Makes the memories of new prompts, as `propagate_in_video` does at its first step."""
        self._session(inference_state).remember_answers()

    def propagate_in_video(
        self,
        inference_state: InferenceState,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Iterator[FrameLogits]:
        """Follows all objects, by default from the first prompted frame, frame after frame.

        At most `max_frame_num_to_track` frames after the first are visited. Of a stream, frames
        come out as they come in.
        """
        session = self._session(inference_state)
        objects = list(session.tracks)
        for frame, logits in session.propagate(start_frame_idx, max_frame_num_to_track, reverse):
            yield frame, objects, logits[:, None]

    # ---- states as files

    def save_state(self, inference_state: InferenceState, path: str | PathLike[str]) -> None:
        """Writes all that is known of the objects to a file, from which any machine can go on."""
        save_session(self._session(inference_state), path)

    def load_state(
        self, path: str | PathLike[str], video_path: VideoSource, **options: Any
    ) -> InferenceState:
        """The state in a file that `save_state` wrote: same model, same video.

        What follows is equal to the bit, on the same kind of device. Options as of `init_state`.
        """
        state = self.init_state(video_path, **options)
        load_session(self._session(state), path)
        return state

    # ---- what scripts use although its names are private

    def _get_image_feature(
        self, inference_state: InferenceState, frame_idx: int, batch_size: int
    ) -> tuple[Tensor, dict[str, list[Tensor]], list[Tensor], list[Tensor], list[tuple[int, int]]]:
        """A frame (n, 3, S, S) and its features, n times over; see `_prepare_backbone_features`."""
        session = self._session(inference_state)
        with torch.inference_mode():
            image = session.frames[frame_idx].to(self.device)[None]
            out = self.forward_image(image)
        repeated = {k: [m.expand(batch_size, -1, -1, -1) for m in maps] for k, maps in out.items()}
        image = image.expand(batch_size, -1, -1, -1)
        return image, *self._prepare_backbone_features(repeated)

    def _get_orig_video_res_output(
        self, inference_state: InferenceState, any_res_masks: Tensor
    ) -> tuple[Tensor, Logits]:
        """Logits (objects, 1, h, w), and the same at the video's size."""
        masks = any_res_masks.to(self.device)
        logits = upscale(masks[:, 0], self._session(inference_state).frame_size)[:, None]
        if self.non_overlap_masks:
            logits = self._apply_non_overlapping_constraints(logits)
        return masks, logits

    def _apply_non_overlapping_constraints(self, pred_masks: Logits) -> Logits:
        """At each pixel all objects but the strongest are clamped to at most -10."""
        return strongest_only(pred_masks[:, 0])[:, None]

    def _obj_id_to_idx(self, inference_state: InferenceState, obj_id: Hashable) -> int:
        """The place of an object in the logits; a new object gets the next one."""
        tracks = self._session(inference_state).tracks
        tracks.setdefault(obj_id, Track())
        show(inference_state)
        return list(tracks).index(obj_id)

    def _get_obj_num(self, inference_state: InferenceState) -> int:
        """How many objects there are."""
        return len(self._session(inference_state).tracks)

    def _session(self, state: InferenceState | dict[str, Any]) -> Session:
        """The session of a state, with the settings that the model has now."""
        session = state_of(state, self).session
        session.corrections_condition = self.add_all_frames_to_correct_as_cond
        session.most_prompted = self.max_cond_frames_in_attn
        session.hole_area = self.fill_hole_area
        session.exclusive = self.non_overlap_masks
        return session


class SAM2VideoPredictorVOS(SAM2VideoPredictor):
    """The predictor with its parts compiled: slow to start, then faster; rounds differently."""

    def __init__(self, config: ModelConfig, settings: Settings | None = None) -> None:
        super().__init__(config, settings)
        print("The parts of the model are compiled when they first run, which takes minutes.")
        self.image_encoder.compile(mode=_COMPILE_MODE, dynamic=False)
        for part in (self.memory_attention, self.memory_encoder, self.sam_mask_decoder):
            part.compile(mode=_COMPILE_MODE, dynamic=True)  # objects and memories vary in number
        look = torch.compile(self.memory_attention.look, mode=_COMPILE_MODE, dynamic=False)
        self.memory_attention.look = look  # type: ignore[method-assign]  # one frame, alone


def _frame_loader() -> Callable[..., tuple[Frames, int, int]]:
    """What reads videos: ours, or what a program put in its place.

    Some programs replace it for good in `sam2.utils.misc`; others do so only while this module is
    imported, and count on their function being used from then on.
    """
    replaced = misc.load_video_frames is not misc.OWN_LOADER
    return misc.load_video_frames if replaced else load_video_frames


def _point_prompt(
    points: Numbers | None,
    labels: Numbers | None,
    box: Numbers | None,
    frame_size: tuple[int, int],
    scale: tuple[int, int],
) -> PointPrompt:
    """A prompt in pixels from arrays whose coordinates go from 0 to `scale`, (height, width)."""
    if (points is None) != (labels is None):
        raise PromptError("Pass points together with labels, one for each: 1 on the object, 0 off.")
    if points is None and box is None:
        raise PromptError("Pass points and labels, or a box, or both: there is nothing to go by.")
    (height, width), (most_y, most_x) = frame_size, scale
    factor = torch.tensor([width / most_x, height / most_y])  # exactly 1 for pixels
    places, marks = torch.zeros(0, 2), torch.zeros(0)
    if points is not None:
        many_places, many_marks = read_points(points, labels, scale)
        if len(many_places) != 1:
            raise PromptError(f"Points of {len(many_places)} objects: pass those of one, (N, 2).")
        places, marks = many_places[0] * factor, many_marks[0]
    corners = None
    if box is not None:
        flat = box.reshape(-1) if isinstance(box, Tensor) else np.asarray(box).reshape(-1)
        left, top, right, bottom = (read_boxes(flat, scale).view(2, 2) * factor).flatten().tolist()
        corners = (left, top, right, bottom)
    return PointPrompt(
        points=tuple((x, y) for x, y in places.tolist()),
        labels=tuple(int(mark) for mark in marks),
        box=corners,
    )
