"""Boxes and points from the command line become the objects that a user expects."""

from pathlib import Path

import pytest

from pipeline.command_line import one_video, parse_box, parse_point
from pipeline.manifest import ManifestError, ObjectPrompts, Prompt


def objects(boxes: list[str], points: list[str]) -> tuple[ObjectPrompts, ...]:
    return one_video("clip.mp4", boxes, points).objects or ()


def test_a_box_is_a_frame_and_two_corners() -> None:
    assert parse_box("3:10,20,200.5,220") == (3, (10, 20, 200.5, 220))


def test_a_point_is_a_frame_a_place_and_a_label() -> None:
    assert parse_point("0:210,350,1") == (0, (210, 350, 1))


@pytest.mark.parametrize("text", ["", "0", "10,20,30,40", "0:1,2,3", "0:1,2,3,4,5", "a:1,2,3,4"])
def test_a_box_in_another_form_is_refused_with_the_right_one(text: str) -> None:
    with pytest.raises(ValueError, match="FRAME:X1,Y1,X2,Y2, such as 0:10,20,200,220"):
        parse_box(text)


@pytest.mark.parametrize("text", ["", "0:1,2", "0:1,2,yes", "0:1,2,3,4", "1,2,1"])
def test_a_point_in_another_form_is_refused_with_the_right_one(text: str) -> None:
    with pytest.raises(ValueError, match="FRAME:X,Y,LABEL, such as 0:210,350,1"):
        parse_point(text)


def test_every_box_is_a_new_object() -> None:
    first, second = objects(["0:1,1,5,5", "7:2,2,6,6"], [])

    assert (first.object_id, second.object_id) == (1, 2)
    assert second.prompts == (Prompt(frame=7, box=(2, 2, 6, 6)),)


def test_points_and_a_box_on_one_frame_are_one_prompt() -> None:
    (only,) = objects(["0:1,1,5,5"], ["0:2,2,1", "0:9,9,0", "4:3,3,1"])

    assert only.prompts == (
        Prompt(frame=0, points=((2, 2), (9, 9)), point_labels=(1, 0), box=(1, 1, 5, 5)),
        Prompt(frame=4, points=((3, 3),), point_labels=(1,)),
    )


def test_a_number_in_front_names_the_object() -> None:
    one, two = objects(["2@0:1,1,5,5", "0:2,2,6,6", "2@9:1,1,5,5"], ["1@3:4,4,1"])

    assert [prompt.frame for prompt in one.prompts] == [0, 3]
    assert [prompt.frame for prompt in two.prompts] == [0, 9]


def test_with_several_boxes_a_point_must_say_whose_it_is() -> None:
    with pytest.raises(ValueError, match="as in 2@0:4,4,1"):
        objects(["0:1,1,5,5", "0:2,2,6,6"], ["0:4,4,1"])


def test_an_object_has_one_box_a_frame() -> None:
    with pytest.raises(ValueError, match="object 1 has two boxes on frame 0"):
        objects(["1@0:1,1,5,5", "1@0:2,2,6,6"], [])


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="object's number"):
        objects(["dog@0:1,1,5,5"], [])


def test_what_a_manifest_may_not_say_cannot_be_said_here() -> None:
    with pytest.raises(ManifestError, match=r"clip\.mp4 has 1 problem"):
        objects(["0:5,5,1,1"], [])


def test_without_marks_the_objects_are_to_be_discovered() -> None:
    assert one_video("clip.mp4").objects is None


def test_the_clip_is_called_like_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    here, there = one_video("clips/a.mp4"), one_video("s3://bucket/b.mp4")

    assert (here.video_id, here.uri) == ("a", f"{tmp_path}/clips/a.mp4")
    assert (there.video_id, there.uri) == ("b", "s3://bucket/b.mp4")


@pytest.mark.parametrize("text", ["5", "a:b", "1:2:3"])
def test_a_part_in_another_form_is_refused_with_the_right_one(text: str) -> None:
    with pytest.raises(ValueError, match="FIRST:STOP"):
        one_video("clip.mp4", ["0:1,2,3,4"], frames=text)


def test_a_part_that_leaves_out_its_prompt_is_told_in_plain_words() -> None:
    with pytest.raises(ValueError, match=r"prompt on frame 0 is outside frames \[5, 9\]") as told:
        one_video("clip.mp4", ["0:1,2,3,4"], frames="5:9")
    assert "pydantic" not in str(told.value)
