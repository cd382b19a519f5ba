"""``folioscope safety pictures``: look at an index's pictures before anyone asks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from indexing.cli_common import console, notes, print_json
from serving.safety.cli import JsonOption
from serving.safety.cli_review import QueueOption

if TYPE_CHECKING:
    from indexing.index import Index
    from serving.safety.types import Evidence


def register(app: typer.Typer) -> None:
    """Add the command to ``folioscope safety``."""
    app.command("pictures")(pictures)


def pictures(
    index: Annotated[Path, typer.Option("--index", "-i", help="The index folder.")],
    policy: Annotated[
        Path | None, typer.Option(help="The policy whose thresholds count; by default the shipped.")
    ] = None,
    queue: QueueOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at every page's picture once, so that no question has to wait for it.

    What was seen is kept beside the review queue, by document and page: run it again after adding
    documents and only new pages are looked at. Needs `pip install 'folioscope[safety-images]'`.

    Example:  folioscope safety pictures --index my-index
    """
    from indexing.index import Index
    from serving.safety.detectors.pictures import PictureDetector
    from serving.safety.policy import read_policy
    from serving.safety.setup import checks_of, pictures_beside, queue_file
    from serving.safety.types import Case

    start = read_policy(policy)
    only = {"fast": ("pictures",), "heavy": (), "optional": (), "guards": ()}
    kept = pictures_beside(queue_file(queue))
    checks, _ = checks_of(start.model_copy(update=only), pictures=kept)
    detector = checks["fast"][0].detector
    if not isinstance(detector, PictureDetector):
        raise AssertionError("the check 'pictures' looks at pictures")
    looked = known = 0
    found: list[dict[str, Any]] = []
    with notes.status("beginning") as status:
        for page in _pages(Index.open(index)):
            known += detector.is_known(page)
            looked += 1
            status.update(f"{looked} pages, {page.source}")
            for score in detector.detect(Case("", (page,))):
                band = start.categories[score.category].band(score.value)
                if band != "allow":
                    found.append(
                        {
                            "source": page.source,
                            "page": page.page,
                            "category": score.category,
                            "score": round(score.value, 4),
                            "band": band,
                            "detail": score.detail,
                        }
                    )
    if as_json:
        print_json({"pages": looked, "known": known, "kept_in": str(kept), "found": found})
        return
    said = [f"{looked} pages, {known} of them known; kept in {kept}"]
    said += [
        f"{row['source']}, page {row['page'] + 1}: {row['category']} {row['score']:.2f}, "
        f"{row['band']} {row['detail']}".rstrip()
        for row in found
    ]
    for line in said:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _pages(index: Index) -> Iterator[Evidence]:
    import numpy as np

    from serving.safety.types import Evidence

    for document in index.documents():
        for number in range(document["pages"]):
            page_id = index.page_id(document["doc_id"], number)
            if page_id is None:
                continue
            record = index.page(page_id)
            yield Evidence(
                page_id,
                document["source"],
                number,
                record.words,
                sha256=index.document(record.doc_id).sha256,
                picture=partial(lambda of: np.asarray(index.picture(of)), page_id),
            )
