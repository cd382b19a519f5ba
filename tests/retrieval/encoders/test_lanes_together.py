"""Words and a model of the ColPali family in one index, each through its real encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from indexing.build import BuildSettings
from indexing.index import Index
from indexing.settings import IntakeSettings
from tests.indexing.pdfs import write_books

pytestmark = [pytest.mark.models, pytest.mark.timeout(300)]

SETTINGS = BuildSettings(intake=IntakeSettings(ocr="off", workers=1))
QUESTION = "which bird hunts voles"


def test_words_and_pictures_are_searched_together_and_hits_say_by_which_they_were_found(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    books, model = write_books(tmp_path / "books"), f"colpali:{checkpoint('colpali')}"
    both, later = tmp_path / "both", tmp_path / "later"
    with Index.create(both, encoder="text", others={"pixels": model}, settings=SETTINGS) as index:
        index.add([books])
    with Index.create(later, encoder="text", settings=SETTINGS) as index:
        index.add([books])
        index.add_encoder("pixels", model)
    # Opened by name: the index itself says which encoders it needs.
    found = []
    for root in (both, later):
        with Index.open(root, settings=SETTINGS) as index:
            assert index.verify() == []
            assert index.status().lanes == {"pixels": index.others["pixels"].id}
            found.append(index.search(QUESTION).hits)
    assert [(hit.page_id, hit.found_by) for hit in found[0]] == [
        (hit.page_id, hit.found_by) for hit in found[1]
    ]
    best = found[0][0]
    assert Path(best.source).name == "owls.pdf"
    assert {"late", "late:pixels"} <= set(best.found_by)
    for hit in found[0]:
        assert {"late", "late:pixels"} <= set(hit.scores)
        assert sum(hit.scores.values()) == pytest.approx(hit.score, abs=1e-5)
    with Index.open(later, settings=SETTINGS) as index:
        index.remove_encoder("pixels")
        assert not any("late:pixels" in hit.scores for hit in index.search(QUESTION).hits)
