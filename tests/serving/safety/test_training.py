"""Training a head, picking thresholds, and what is shipped."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from folioscope import app
from retrieval.errors import InputError
from serving.safety.calibration import Wanted, calibrate, rate
from serving.safety.grams import BUCKETS, grams_of
from serving.safety.heads import SHIPPED, read_head, shipped_head
from serving.safety.labelled import Labelled, groups_of, parts_of, read_labelled
from serving.safety.policy import CategoryPolicy, read_policy
from serving.safety.setup import open_gate

_BAD = ("steal", "smash", "forge", "sabotage")
_GOOD = ("water", "paint", "describe", "repair")
_THINGS = (
    *("bicycle", "lamp", "garden", "ticket", "ladder", "kettle", "window", "statue", "wallet"),
    *("carpet", "hammer", "violin", "mirror", "basket", "candle", "saddle"),
)


def texts() -> list[Labelled]:
    """Mild made-up requests of two sources."""
    count = len(_THINGS)
    return [
        Labelled(
            f"{verb}{at}",
            f"{verb} {thing} {_THINGS[(5 * at + 3 * n) % count]} {_THINGS[(7 * at + n) % count]}",
            bad,
            source=("one", "two")[n % 2],
        )
        for bad, verbs in ((True, _BAD), (False, _GOOD))
        for n, verb in enumerate(verbs)
        for at, thing in enumerate(_THINGS)
    ]


def write(path: Path, rows: list[Labelled]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "label", "source"])
        for row in rows:
            writer.writerow([row.id, row.text, "harmful" if row.harmful else "benign", row.source])
    return path


@given(st.lists(st.text(max_size=40), min_size=1, max_size=6))
def test_grams_of_texts_together_are_those_of_each_alone(said: list[str]) -> None:
    together = grams_of(said)
    for at, text in enumerate(said):
        alone = grams_of([text])
        assert together.buckets[together.texts == at].tolist() == alone.buckets.tolist()
    assert ((together.buckets >= 0) & (together.buckets < BUCKETS)).all()


def test_case_digits_and_hidden_letters_change_no_gram() -> None:
    plain = grams_of(["Pay 12 francs to the porter"]).buckets
    for other in ("pay  99 FRANCS, to the porter!", "Pay 12 fr​ancs to the p᠎orter"):
        assert grams_of([other]).buckets.tolist() == plain.tolist()
    assert grams_of(["Pay 12 francs to the waiter"]).buckets.tolist() != plain.tolist()


def test_near_duplicates_stay_in_one_part_whatever_the_order() -> None:
    rows = texts()
    rows += [Labelled(f"again {row.id}", row.text.upper() + "!", row.harmful) for row in rows[:40]]
    groups = groups_of([row.text for row in rows])
    parts = parts_of(rows, groups)
    assert len({(g, p) for g, p in zip(groups.tolist(), parts, strict=True)}) == len(set(groups))
    assert set(parts) == {"train", "calibrate", "test"}
    back = parts_of(rows[::-1], groups_of([row.text for row in rows[::-1]]))
    assert back[::-1] == parts


def test_a_head_is_trained_saved_and_used_by_a_policy(tmp_path: Path) -> None:
    data = write(tmp_path / "data.csv", texts())
    (tmp_path / "more.txt").write_text("polish the silver spoon\n\nfold the paper crane\n")
    run = CliRunner()
    made = []
    for name in ("a.npz", "b.npz"):
        asked = ["safety", "train", "--data", str(data), "--out", str(tmp_path / name)]
        asked += ["--grams-only", "--more-benign", str(tmp_path / "more.txt"), "--json"]
        done = run.invoke(app, asked, catch_exceptions=False)
        assert done.exit_code == 0
        made.append(json.loads(done.stdout))
    assert made[0]["sha256"] == made[1]["sha256"]  # the same data, the same bytes
    assert made[0]["auroc"] > 0.9
    raw = (tmp_path / "a.npz").read_bytes()
    assert made[0]["sha256"] == hashlib.sha256(raw).hexdigest()
    assert not any(word.encode() in raw for word in _THINGS)

    policy = tmp_path / "policy.json"
    said = {
        "fast": ["harm"],
        "heavy": [],
        "categories": {"harm": {"review": 0.5, "block": 1.0}},
        "heads": {"harm": {"path": "a.npz", "sha256": made[0]["sha256"]}},
    }
    policy.write_text(json.dumps(said))
    gate = open_gate(read_policy(policy))
    assert gate.before("smash ladder and violin", ()).band == "review"
    assert gate.before("repair ladder and violin", ()).band == "allow"
    # Padding does not carry it past the check.
    padded = "repair ladder and violin " * 60 + "smash ladder steal violin smash wallet"
    assert gate.before(padded, ()).band == "review"

    asked = ["safety", "calibrate", "--data", str(data), "--policy", str(policy)]
    out = tmp_path / "calibrated.json"
    done = run.invoke(app, [*asked, "--out", str(out), "--target-recall", "0.9", "--json"])
    assert done.exit_code == 0
    written = read_policy(out)
    measured = written.categories["harm"].calibration
    assert written.calibrated and written.revision == 2
    assert measured is not None and measured.recall.low <= measured.recall.value
    assert measured.data["part"] == "calibrate"
    assert json.loads(done.stdout)["policy"] == written.id
    few = write(tmp_path / "few.csv", texts()[::9])
    asked_few = [*asked[:3], str(few), *asked[4:], "--out", str(tmp_path / "no"), "--part", "all"]
    refused = run.invoke(app, asked_few).exception
    assert isinstance(refused, InputError) and "at least 10 of each" in str(refused)
    shown = run.invoke(app, [*asked, "--out", str(tmp_path / "again.json"), "--part", "test"])
    assert shown.exit_code == 0 and "held back, at the recall" in shown.stdout


def test_a_head_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "head.npz"
    digest = shipped_head("harm").write(path)
    assert read_head(path, digest).digest == digest == SHIPPED["harm"]
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(InputError, match="not the one that was measured"):
        read_head(path, digest)
    path.write_bytes(b"no archive")
    with pytest.raises(InputError, match="not a classifier"):
        read_head(path, hashlib.sha256(b"no archive").hexdigest())


def test_the_shipped_policy_lets_everyday_questions_pass_in_both_checks() -> None:
    gate = open_gate(read_policy())
    asked = "How do I kill a Python process that hangs?"
    for question in (asked, "What was net revenue in 2023?", "Who shot the photograph on page 3?"):
        assert gate.before(question, ()).band == "allow"
    verdict = gate.after(asked, (), "Send it the TERM signal, then the KILL signal.")
    assert verdict.band == "allow" and not verdict.failures


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("text,verdict\na,b\n", "no column label"),
        ("text,label\nhello,maybe\n", "line 2: the label is 'maybe'"),
        ("text,label\n ,benign\n", "line 2: the text is empty"),
        ("text,label,place\nhello,benign,moon\n", "the place is 'moon'"),
        ("text,label\n", "has no rows"),
    ],
)
def test_labels_that_cannot_be_used_are_named(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=said):
        read_labelled(path)


scores_in = st.lists(st.floats(0, 1).map(lambda x: round(x, 3)), min_size=1, max_size=60)


@given(scores_in, scores_in, st.floats(0, 1), st.floats(0, 1))
def test_the_review_load_is_kept_and_reached_means_reached(
    bad: list[float], good: list[float], recall: float, review: float
) -> None:
    scores = np.array(bad + good)
    harmful = np.arange(len(scores)) < len(bad)
    found = calibrate(
        scores,
        harmful,
        Wanted(recall, review, review / 4),
        data={},
        detectors=["d"],
        before=CategoryPolicy(),
    )
    measured = found.chosen.calibration
    assert measured is not None
    assert measured.false_positives.value <= review + 1e-9
    assert measured.wrongly_blocked.value <= review / 4 + 1e-9
    if measured.reached:
        assert measured.recall.value >= recall - 1e-9
    held = [found.chosen.band(value) != "allow" for value in bad]
    assert sum(held) == measured.recall.hits


def test_intervals_are_those_of_clopper_and_pearson() -> None:
    of_ten = rate(3, 10)  # R: binom.test(3, 10)
    assert (round(of_ten.low, 4), round(of_ten.high, 4)) == (0.0667, 0.6525)
    assert rate(0, 10).low == 0 and rate(10, 10).high == 1
