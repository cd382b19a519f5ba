"""``folioscope bench video``: methods are scored by what they keep, questions by the time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("av", reason="PyAV, the extra `video`, is not installed")

from eval import bench_video, synthetic_video
from eval.bench_video import LabelledClip, tally
from eval.bench_video_questions import measure_video_questions, read_time_questions
from eval.synthetic_video import encode, page
from retrieval.errors import InputError


def _slides(path: Path, *texts: str) -> Path:
    pictures = [page([text], (480, 270), text=26) for text in texts]
    frames = ((n / 4, pictures[n // 8]) for n in range(8 * len(texts)))
    return encode(path, frames, fps=4)


def test_states_are_found_once_and_the_rest_is_in_vain() -> None:
    clip = LabelledClip("a", "recording", "test", 9.0, [(0, 3), (3, 6), (7, 9)], [(6, 7)])
    found = tally([clip], {"a": [0.0, 1.0, 6.5, 7.0]})
    assert (found.states, found.found, found.kept, found.redundant) == (3, 2, 4, 1)
    assert tally([clip], {"a": [0.0, 3.0, 7.0]}).f1 == 1.0


def test_every_method_is_tuned_on_some_clips_and_reported_on_others(tmp_path: Path) -> None:
    clips = {}
    for name, split in (("one.mp4", "tune"), ("two.mp4", "test")):
        _slides(tmp_path / name, f"Ledger {split}", "Harbour dues", "Ferry times")
        states = [[2 * i, 2 * i + 2, "slide"] for i in range(3)]
        clips[name] = {"kind": "recording", "split": split, "states": states, "optional": []}
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({"clips": clips}))
    found = bench_video.measure_video(tmp_path, labels, False, [synthetic_video.tick_box()])
    assert found.facts == {"clips": 3, "of_them_tuned_on": 2}
    by_method = {row["method"]: row for row in found.rows}
    assert by_method["folioscope"]["recordings: found"] == "3/3"
    assert by_method["folioscope"]["recordings: in vain"] == "0/3"
    assert all(row["film: found"] == "0/0" for row in found.rows)
    each = bench_video.measure_clips(tmp_path, labels).rows
    assert [(row["clip"], row["found"], row["in_vain"]) for row in each] == [
        ("one.mp4", 3, 0),
        ("two.mp4", 3, 0),
    ]
    with pytest.raises(InputError, match="none of the clips"):
        bench_video.measure_video(tmp_path / "nothing", labels, False)
    labels.write_text("{}")
    with pytest.raises(InputError, match="no labels of clips"):
        bench_video.measure_video(tmp_path, labels, False)


def test_drawn_work_becomes_few_pages() -> None:
    (row,) = bench_video.measure_drawn_work(0.5).rows
    assert row["frames"] == 120 and 5 <= row["kept"] <= 40
    assert not row["held_back_by_a_limit"]


def test_questions_are_answered_by_the_clip_and_the_time(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    _slides(folder / "port.mp4", "Winter berth dues", "Lantern glass replaced")
    questions = tmp_path / "questions.jsonl"
    rows = [
        {"qid": "when", "question": "When is lantern glass shown?", "times": [[2, 4]]},
        {"qid": "which", "question": "Which clip shows berth dues?"},
        {"qid": "wrong", "question": "When is lantern glass shown?", "times": [[8, 9]]},
    ]
    shared = {"doc": "clips/port.mp4", "scope": "video"}
    questions.write_text("\n".join(json.dumps({**row, **shared}) for row in rows))
    found = measure_video_questions(folder, questions, "tesseract")
    assert [row["rank"] for row in found.rows] == [1, 1, None]
    assert (found.facts["with_times"], found.facts["time_of_first_is_right"]) == (2, 1)
    questions.write_text('{"scope": "video"}')
    with pytest.raises(InputError, match="each line needs qid"):
        read_time_questions(questions)
    questions.write_text('{"scope": "doc"}')
    with pytest.raises(InputError, match="no question of scope"):
        read_time_questions(questions)
