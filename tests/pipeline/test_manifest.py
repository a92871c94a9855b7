"""A manifest is read whole, or refused with everything that is wrong with it."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from pipeline import storage
from pipeline.manifest import ManifestError, Prompt, VideoEntry, read_manifest
from pipeline.rle import encode_mask

SQUARE = np.zeros((4, 6), dtype=np.bool_)
SQUARE[1:3, 2:4] = True
MASK = {"size": [4, 6], "counts": encode_mask(SQUARE)}
POINT = {"frame": 0, "points": [[210, 350]], "point_labels": [1]}

UNIT = st.floats(0, 1)
NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=9)
FRAMES = st.integers(10, 49)
BOXES = st.tuples(UNIT, UNIT).map(lambda xy: [*xy, xy[0] + 0.5, xy[1] + 0.5])
CLICKS = st.lists(st.tuples(UNIT, UNIT), min_size=1, max_size=3)


def marks(place: dict[str, Any]) -> SearchStrategy[dict[str, Any]]:
    """Prompts at one place: clicks, a box, both or a mask."""
    clicks = CLICKS.map(lambda at: {"points": at, "point_labels": [1] * len(at)})
    boxes = BOXES.map(lambda box: {"box": box})
    both = st.tuples(clicks, boxes).map(lambda two: two[0] | two[1])
    return st.one_of(clicks, boxes, both, st.just({"mask": MASK})).map(lambda mark: place | mark)


@st.composite
def tracked(draw: st.DrawFn, object_id: int) -> dict[str, Any]:
    frames = draw(st.sets(FRAMES, max_size=2))
    times = draw(st.sets(st.floats(0, 9), min_size=not frames, max_size=2))
    places = [{"frame": f} for f in frames] + [{"time_s": t} for t in times]
    optional = {"label": NAMES, "direction": st.sampled_from(["forward", "reverse", "both"])}
    return draw(st.fixed_dictionaries({}, optional=optional)) | {
        "object_id": object_id,
        "prompts": [draw(marks(place)) for place in places],
    }


@st.composite
def videos(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Valid manifests, as plain values."""
    entries = []
    for video_id in draw(st.sets(NAMES, min_size=1, max_size=3)):
        ids = draw(st.sets(st.integers(0, 2**31 - 1), min_size=1, max_size=2))
        optional = {"frames": st.just([10, 50]), "coords": st.just("pixel")}
        entry = draw(st.fixed_dictionaries({}, optional=optional))
        entry |= {"video_id": video_id, "uri": f"s3://bucket/{video_id}.mp4"}
        entry["objects"] = [draw(tracked(object_id)) for object_id in ids]
        entries.append(entry)
    return entries


def write_lines(path: Path, *lines: object) -> str:
    """A JSONL manifest; strings stand as they are."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts), encoding="utf-8")
    return str(path)


def video(*prompts: object, **fields: object) -> dict[str, object]:
    """One line with one object."""
    objects = [{"object_id": 1, "prompts": list(prompts or [POINT])}]
    return {"video_id": "a1", "uri": "a1.mp4", "objects": objects} | fields


def problems(folder: Path, *lines: object) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read_manifest(write_lines(folder / "videos.jsonl", *lines))
    return list(caught.value.problems)


@settings(deadline=None)
@given(videos())
def test_lines_and_parquet_mean_the_same(entries: list[dict[str, Any]]) -> None:
    with TemporaryDirectory() as folder:
        lines = write_lines(Path(folder) / "videos.jsonl", *entries)
        table = f"{folder}/videos.parquet"
        pq.write_table(pa.Table.from_pylist(plain(entries)), table)

        read = read_manifest(lines)

        assert read == read_manifest(table)
        assert read == [VideoEntry.model_validate(entry) for entry in entries]


def plain(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same entries with a null for every absent field, as tables have it."""
    return [VideoEntry.model_validate(entry).model_dump() for entry in entries]


def test_the_example_of_the_documentation_is_read(tmp_path: Path) -> None:
    line = """{"video_id": "a1", "uri": "s3://bucket/a1.mp4", "frames": [0, 600],
        "objects": [{"object_id": 1, "label": "dog", "direction": "both", "prompts": [
            {"frame": 0, "points": [[210, 350], [250, 220]], "point_labels": [1, 0]},
            {"time_s": 1.2, "box": [300, 0, 500, 400]}]}]}"""

    (entry,) = read_manifest(write_lines(tmp_path / "v.jsonl", line.replace("\n", " "), "", "  "))

    assert entry.frames == (0, 600)
    assert entry.objects is not None
    assert entry.objects[0].direction == "both"
    assert entry.objects[0].prompts == (
        Prompt(frame=0, points=((210, 350), (250, 220)), point_labels=(1, 0)),
        Prompt(time_s=1.2, box=(300, 0, 500, 400)),
    )


def test_a_relative_path_means_a_file_beside_the_manifest(tmp_path: Path) -> None:
    names = ("clips/a.mp4", "/data/b.mp4", "gs://c/d.mp4")
    entries = [video(video_id=name, uri=name) for name in names]

    read = read_manifest(write_lines(tmp_path / "v.jsonl", *entries))

    assert [e.uri for e in read] == [f"{tmp_path}/clips/a.mp4", "/data/b.mp4", "gs://c/d.mp4"]


@pytest.mark.parametrize(
    "uri", ["C:/clips/a.mp4", "clips/s3:/a.mp4", "take 2:/a.mp4", "/s3:/a.mp4"]
)
def test_a_path_may_have_colons(uri: str, tmp_path: Path) -> None:
    (entry,) = read_manifest(write_lines(tmp_path / "v.jsonl", video(uri=uri)))

    assert entry.uri.endswith(uri)


def test_a_manifest_on_s3_is_read_and_has_videos_beside_it(s3_bucket: str) -> None:
    fs, path = storage.filesystem(f"{s3_bucket}/sets/v.jsonl")
    storage.put(fs, path, json.dumps(video()).encode())

    (entry,) = read_manifest(f"{s3_bucket}/sets/v.jsonl")

    assert entry.uri == f"{s3_bucket}/sets/a1.mp4"


def test_a_windows_editor_may_have_saved_it(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(video()).encode() + b"\r\n")

    assert len(read_manifest(str(path))) == 1


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ({"points": [[1, 1]], "point_labels": [1]}, "either 'frame' or 'time_s'"),
        (POINT | {"time_s": 0.5}, "either 'frame' or 'time_s'"),
        (POINT | {"frame": -1}, "frame: Input should be greater than or equal to 0, not -1"),
        (POINT | {"frame": 1.5}, "frame: Input should be a valid integer"),
        (POINT | {"frame": True}, "frame: Input should be a valid integer"),
        (POINT | {"points": [[float("nan"), 1]]}, "points[0][0]: Input should be a finite number"),
        (POINT | {"points": [[1, float("inf")]]}, "points[0][1]: Input should be a finite number"),
        (POINT | {"points": [[1, -2]]}, "points[0][1]: Input should be greater than or equal to 0"),
        (POINT | {"points": [["1", 2]]}, "points[0][0]: Input should be a valid number, not '1'"),
        (POINT | {"points": [[1, 2, 3]]}, "points[0]: Tuple should have at most 2 items"),
        (POINT | {"point_labels": [2]}, "point_labels[0]: Input should be 0 or 1, not 2"),
        (POINT | {"point_labels": [1, 1]}, "has 1 points but 2 point_labels"),
        (POINT | {"point_labels": [0]}, "only negative points"),
        ({"frame": 0}, "needs points, a box or a mask"),
        ({"frame": 0, "points": [], "point_labels": []}, "needs points, a box or a mask"),
        ({"frame": 0, "box": [9, 1, 9, 5]}, "x1 < x2"),
        ({"frame": 0, "box": [1, 5, 9, 4]}, "y1 < y2"),
        ({"frame": 0, "box": [1, 2, 3]}, "box[3]: Field required"),
        (POINT | {"mask": MASK}, "cannot have points or a box"),
        ({"frame": 0, "box": [1, 1, 2, 2], "mask": MASK}, "cannot have points or a box"),
        ({"frame": 0, "mask": MASK | {"counts": "garbage"}}, "mask: mask counts"),
        ({"frame": 0, "mask": MASK | {"counts": ""}}, "mask: mask counts"),
        ({"frame": 0, "mask": MASK | {"size": [6, 5]}}, "do not fill a mask of 6 x 5 pixels"),
        ({"frame": 0, "mask": MASK | {"size": [0, 5]}}, "mask.size[0]: Input should be greater"),
        ({"frame": 0, "mask": {"size": [4, 6], "counts": "h0"}}, "mask is empty"),
    ],
)
def test_a_prompt_that_cannot_be_meant_is_refused(
    prompt: object, expected: str, tmp_path: Path
) -> None:
    (problem,) = problems(tmp_path, video(prompt))

    assert problem.startswith("line 1: objects[0].prompts[0]")
    assert expected in problem


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (video(frames=[5, 5]), "frames [5, 5] is not a half-open range"),
        (video(frames=[-1, 5]), "frames[0]: Input should be greater than or equal to 0"),
        (video(POINT, frames=[3, 9]), "object 1: its prompt on frame 0 is outside frames [3, 9]"),
        (video(POINT | {"frame": 9}, frames=[3, 9]), "frame 9 is outside frames [3, 9]"),
        (video(POINT, coords="norm"), "coords is 'norm', but a coordinate is larger than 1"),
        (video(coords="percent"), "coords: Input should be 'pixel' or 'norm', not 'percent'"),
        (video(objects=[]), "objects is empty: give at least one object"),
        (video(objects=None), "objects: give at least one with a prompt; objects are not disc"),
        (video(objects=[{"object_id": 1, "prompts": []}]), "needs at least one prompt"),
        (video(objects=[{"object_id": -1, "prompts": [POINT]}]), "objects[0].object_id"),
        (video(objects=[{"object_id": 2**31, "prompts": [POINT]}]), "objects[0].object_id"),
        (video(objects=[{"object_id": "1", "prompts": [POINT]}]), "valid integer, not '1'"),
        (video(objects=[{"object_id": 7, "prompts": [POINT]}] * 2), "object_id 7 is given twice"),
        (video(POINT, POINT), "objects[0]: has two prompts on frame 0"),
        (video(video_id=""), "video_id: must not be empty"),
        (video(video_id="a\nb"), "video_id: must not hold control characters"),
        (video(video_id="a\0b"), "video_id: must not hold control characters"),
        (video(uri="ftp://host/a.mp4"), "uri: 'ftp://' is not supported; use a path or file, s3"),
        (video(uri="concat://a.mp4|b.mp4"), "uri: 'concat://' is not supported"),
        (video(uri="https://me:SECRET@host/a.mp4"), "uri: https://…@host/a.mp4 has credentials"),
        (video(uri="s3://bucket/a::b.mp4"), "uri: '::' in a URI"),
        (video(uri="https://host/a.mp4?t=a::b"), "uri: '::' in a URI"),
        (video(uri="file://clips/a.mp4"), "uri: file://clips/a.mp4: a file's URI begins with"),
        (video(uri="s3:/bucket/a.mp4"), "uri: 's3:/' has one slash: did you mean s3://…?"),
        (video(uri="file:/clips/a.mp4"), "uri: 'file:/' has one slash: did you mean file:///…?"),
        (video(uri="https:/me:SECRET@host/a.mp4"), "did you mean https://…?"),
        ("{", "Invalid JSON"),
        ("1", "Input should be an object"),
        ('{"video_id": "a1"}', "uri: Field required"),
    ],
)
def test_an_entry_that_cannot_be_meant_is_refused(
    entry: object, expected: str, tmp_path: Path
) -> None:
    (problem,) = problems(tmp_path, entry)

    assert problem.startswith("line 1: ")
    assert expected in problem
    assert "SECRET" not in problem


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "2852039166",
        "0xa9.0xfe.0xa9.0xfe",
        "[::ffff:169.254.169.254]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "metadata.google.internal",
    ],
)
def test_no_video_is_read_from_where_a_cloud_keeps_credentials(host: str, tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, video(uri=f"http://{host}/latest/meta-data"))

    assert "serves credentials" in problem


@pytest.mark.parametrize("name", ["../../x", "a/b=c%2F", "hello world ", "ünïcödé", "👩‍🚀"])
def test_an_id_is_data_and_may_look_like_a_path(name: str, tmp_path: Path) -> None:
    (entry,) = read_manifest(write_lines(tmp_path / "v.jsonl", video(video_id=name)))

    assert entry.video_id == name


def test_everything_wrong_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        video(),
        video(POINT | {"frame": -1}, {"frame": 0, "box": [2, 2, 1, 3]}, video_id="", extra=1),
        "",
        "not json",
        video(),
    )

    assert [problem.partition(":")[0] for problem in found] == [
        *["line 2"] * 4,
        "line 4",
        "line 5",
    ]
    assert found[-1] == "line 5: video_id 'a1' was given before, in line 1"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ('[{"video_id": "a", "uri": "a.mp4"}]', "jq -c '.[]'"),
        ('\n[\n{"video_id": "a", "uri": "a.mp4"},\n', "jq -c '.[]'"),
        ('{\n"video_id": "a",\n"uri": "a.mp4"\n}', "jq -c ."),
        ('{"video_id": "a",\n"uri": "a.mp4"}\n{"video_id": "b",\n"uri": "b.mp4"}', "jq -c ."),
    ],
)
@pytest.mark.parametrize("name", ["v.json", "v.jsonl"])
def test_json_of_another_form_is_told_once_and_how_to_convert_it(
    name: str, text: str, advice: str, tmp_path: Path
) -> None:
    with pytest.raises(ManifestError) as caught:
        read_manifest(write_lines(tmp_path / name, text))

    (problem,) = caught.value.problems
    assert "one video per line" in problem
    assert advice in problem


def test_a_line_that_is_no_json_is_named_once_and_its_column(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, video(), "{} {}")

    assert problem == "line 2: Invalid JSON: trailing characters at column 4"


def test_an_id_given_twice_is_told_even_where_a_line_has_other_mistakes(tmp_path: Path) -> None:
    broken = [video(frames=[5, 5]), video(framse=[0, 9]), video(video_id="b"), video(video_id="")]

    found = problems(tmp_path, *broken, video(video_id=""), video(video_id="b", uri=7), video())

    assert [problem for problem in found if "given before" in problem] == [
        "line 2: video_id 'a1' was given before, in line 1",
        "line 6: video_id 'b' was given before, in line 3",
        "line 7: video_id 'a1' was given before, in line 1",
    ]


@pytest.mark.parametrize(
    ("entry", "place", "near", "known"),
    [
        (video(vidoe_id="a"), "vidoe_id", "video_id", "video_id, uri, frames"),
        (video(POINT | {"boxs": [1, 1, 2, 2]}), "objects[0].prompts[0].boxs", "box", "time_s"),
        (
            video({"frame": 0, "mask": MASK | {"szie": 1}}),
            "objects[0].prompts[0].mask.szie",
            "size",
            "size, counts",
        ),
    ],
)
def test_an_unknown_key_names_the_nearest_and_all_known_ones(
    entry: object, place: str, near: str, known: str, tmp_path: Path
) -> None:
    (problem,) = problems(tmp_path, entry)

    assert problem.startswith(f"line 1: {place}: unknown key; did you mean '{near}'?")
    assert known in problem


def test_the_text_of_an_error_lists_the_first_and_counts_the_rest(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "v.jsonl", *["broken"] * 1000)

    with pytest.raises(ManifestError) as caught:
        read_manifest(path)

    assert len(caught.value.problems) == 1000
    assert len(str(caught.value).splitlines()) < 30
    assert "1000 problems" in str(caught.value)
    assert "and 980 more" in str(caught.value)


def test_an_unknown_key_is_told_even_without_a_value(tmp_path: Path) -> None:
    click = {"frame": 0, "points": [[1, 1]], "point_labels": [1], "boxx": None}

    (first, second) = problems(tmp_path, video(framse=None), video(click, video_id="b"))

    assert "did you mean 'frames'" in first
    assert "did you mean 'box'" in second


def test_a_broken_row_of_a_table_is_named_by_its_number(tmp_path: Path) -> None:
    path = str(tmp_path / "v.parquet")
    rows = [video(frames=[0, 9]), video(video_id="a2", frames=[4, 2])]
    pq.write_table(pa.Table.from_pylist(rows), path)

    with pytest.raises(ManifestError, match=r"row 2: frames \[4, 2\]"):
        read_manifest(path)


def test_the_index_that_pandas_writes_of_a_filtered_table_is_no_field(tmp_path: Path) -> None:
    path = str(tmp_path / "v.parquet")
    pq.write_table(pa.Table.from_pylist([video(POINT) | {"__index_level_0__": 7}]), path)

    (entry,) = read_manifest(path)

    assert entry == VideoEntry.model_validate(video(POINT, uri=f"{tmp_path}/a1.mp4"))


@pytest.mark.parametrize("name", ["v.jsonl", "v.parquet"])
def test_an_empty_manifest_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "v.jsonl").write_text("\n\n")
    schema = pa.schema([("video_id", pa.string()), ("uri", pa.string())])
    pq.write_table(schema.empty_table(), tmp_path / "v.parquet")

    with pytest.raises(ManifestError, match="no videos"):
        read_manifest(str(tmp_path / name))


@pytest.mark.parametrize("name", ["none.jsonl", "none.parquet", "broken.parquet", "v.csv"])
def test_a_manifest_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 but not for long")
    (tmp_path / "v.csv").write_text("a,b")

    with pytest.raises(ManifestError, match=name):
        read_manifest(str(tmp_path / name))
