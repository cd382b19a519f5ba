"""What may be asked of the sample documents, with the page and the place of each answer.

Places are not typed in: every evidence text is looked up on its page, and a text that is not
there is an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymupdf

from samples.pictures import locate_receipt, locate_screenshot

REPORT = "tarnfield-annual-report-2024.pdf"
MANUAL = "kestrel-3-manual.pdf"
SLIDES = "checkout-reliability-q3.pdf"
INVOICE = "invoice-ff-2025-0318.pdf"
FORM = "allotment-application.pdf"
PAPER = "counting-swifts-paper.pdf"
RECEIPT = "receipt-pilcrow-coffee.jpg"
SCREEN = "lantern-backup-settings.png"
IN_PICTURES = {RECEIPT: locate_receipt, SCREEN: locate_screenshot}


@dataclass(frozen=True, slots=True)
class Question:
    """``evidence`` holds the texts that answer it, all on ``page`` (0-based)."""

    text: str
    answers: tuple[str, ...]
    kind: str
    doc: str
    page: int
    evidence: tuple[str, ...]
    meta: dict[str, Any] = field(default_factory=dict)


QUESTIONS = [
    Question(
        "What was Tarnfield Cycles' profit for the year 2024?",
        ("£13.5 million",),
        "table",
        REPORT,
        8,
        ("Profit for the year", "13.5"),
    ),
    Question(
        "How much were Tarnfield's inventories worth at the end of 2023?",
        ("£38.5 million",),
        "table",
        REPORT,
        9,
        ("Inventories", "38.5"),
    ),
    Question(
        "How much revenue did Tarnfield earn from cargo bikes in 2022?",
        ("£41.6 million",),
        "chart",
        REPORT,
        4,
        ("Revenue by segment, 2020 to 2024", "41.6"),
    ),
    Question(
        "How many kg of CO2e did one Tarnfield bike cause in 2021?",
        ("203 kg",),
        "chart",
        REPORT,
        6,
        ("Carbon footprint of one bike", "203"),
    ),
    Question(
        "Who becomes finance director of Tarnfield after Henrik Aalto?",
        ("Folasade Brandt",),
        "text",
        REPORT,
        3,
        ("Folasade Brandt",),
    ),
    Question(
        "Which city placed the largest order of Porter 3 cargo bikes, and how many?",
        ("Rotterdam, 620",),
        "text",
        REPORT,
        5,
        ("the city of Rotterdam ordered 620",),
    ),
    Question(
        "What does the covenant of Tarnfield's term loan limit?",
        ("net debt to 2.5 times EBITDA",),
        "text",
        REPORT,
        10,
        ("Its covenant limits net debt to 2.5 times",),
    ),
    Question(
        "What is Tarnfield doing about its dependence on two battery cell makers?",
        ("a third supplier in Hungary from September 2025, stock for 14 weeks",),
        "text",
        REPORT,
        7,
        ("A third supplier, in Hungary,",),
    ),
    Question(
        "Which TCP port does the Kestrel weather station answer on?",
        ("8087",),
        "text",
        MANUAL,
        4,
        ("on port 8087 of the local network",),
    ),
    Question(
        "How do I fetch a week of hourly readings from the Kestrel in Python?",
        ("request /v1/history with from, to and step=1h",),
        "code",
        MANUAL,
        4,
        ("urllib.request.urlopen", "http://kestrel.local:8087/v1/history"),
    ),
    Question(
        "My Kestrel shows error E-27. What should I do?",
        ("clean the funnel and tip the bucket by hand",),
        "table",
        MANUAL,
        6,
        ("E-27", "Clean the funnel; tip the bucket by hand"),
    ),
    Question(
        "How do I erase all settings of the Kestrel base unit?",
        ("hold Pair and Light for twelve seconds",),
        "text",
        MANUAL,
        6,
        ("together for twelve seconds",),
        {"also_on_pages": [2]},
    ),
    Question(
        "Where in kestrel.toml is the averaging time of the wind set?",
        ("mean_minutes",),
        "code",
        MANUAL,
        3,
        ("mean_minutes = 10",),
    ),
    Question(
        "How accurate is the Kestrel's wind direction?",
        ("4°",),
        "table",
        MANUAL,
        7,
        ("Wind direction", "4°"),
    ),
    Question(
        "What caused the checkout outage of 17 August and how long did it last?",
        ("the outbox disk was full; 38 minutes",),
        "table",
        SLIDES,
        3,
        ("Outbox disk full, ledger blocked on write", "38"),
    ),
    Question(
        "Which two parts of the checkout platform does the link join that failed in August?",
        ("the ledger and the outbox",),
        "diagram",
        SLIDES,
        2,
        ("the link that failed in August", "Ledger", "Outbox"),
    ),
    Question(
        "What was the 99th percentile of checkout latency in week 39?",
        ("1.24 seconds",),
        "chart",
        SLIDES,
        5,
        ("99th percentile", "1.24"),
    ),
    Question(
        "What does one checkout payment cost in the third quarter of 2024?",
        ("1.2 pence",),
        "chart",
        SLIDES,
        6,
        ("pence for one payment", "1.2"),
    ),
    Question(
        "What is the total due on the joinery's invoice to Alder Row Primary School?",
        ("£6,722.58",),
        "invoice",
        INVOICE,
        0,
        ("Total due", "£6,722.58"),
    ),
    Question(
        "Which sort code should the invoice FF-2025-0318 be paid to?",
        ("40-91-26",),
        "invoice",
        INVOICE,
        0,
        ("40-91-26",),
    ),
    Question(
        "Which allotment site did Leonora Vasquez-Holm ask for first?",
        ("Canal Bank North",),
        "form",
        FORM,
        0,
        ("Canal Bank North",),
    ),
    Question(
        "What is the yearly rent for an allotment of 125 square metres in Thornby?",
        ("£64.50",),
        "form",
        FORM,
        0,
        ("76 to 150 square metres", "£64.50"),
    ),
    Question(
        "How large is the swift recorder's counting error in rain?",
        ("36%",),
        "chart",
        PAPER,
        1,
        ("Error of the count by weather and noise", "36"),
    ),
    Question(
        "How much does one swift recorder cost in parts?",
        ("38 euros",),
        "text",
        PAPER,
        0,
        ("38 euros in",),
    ),
    Question(
        "How many nests did the old brewery have?",
        ("64",),
        "table",
        PAPER,
        0,
        ("Old brewery", "64"),
    ),
    Question(
        "What does surveying one swift colony with a recorder cost in total?",
        ("65 euros",),
        "table",
        PAPER,
        2,
        ("Together", "65"),
    ),
    Question(
        "How much did we pay at Pilcrow Coffee on 14 February 2025?",
        ("31.14 GBP",),
        "receipt",
        RECEIPT,
        0,
        ("TOTAL GBP", "31.14"),
    ),
    Question(
        "What is the wifi password at Pilcrow Coffee?",
        ("slowmorning",),
        "receipt",
        RECEIPT,
        0,
        ("slowmorning",),
    ),
    Question(
        "How long does Lantern Backup keep old versions?",
        ("180 days",),
        "screenshot",
        SCREEN,
        0,
        ("Keep old versions for", "180 days"),
    ),
    Question(
        "What quiet hours are set in Lantern Backup?",
        ("09:00 to 17:30",),
        "screenshot",
        SCREEN,
        0,
        ("Quiet hours", "09:00 to 17:30"),
    ),
]

# Close to what the documents speak of, and answered by none of them.
UNANSWERABLE = [
    ("What was Tarnfield Cycles' revenue in China in 2024?", REPORT),
    ("Does the Kestrel 3 measure ultraviolet radiation?", MANUAL),
    ("How many swifts' nests were counted in Lisbon?", PAPER),
]


def _places(documents: Path, question: Question) -> list[dict[str, Any]]:
    boxes: list[dict[str, Any]] = []
    if question.doc in IN_PICTURES:
        for text in question.evidence:
            boxes.append(_box(0, IN_PICTURES[question.doc](text), "image_px", text))
        return boxes
    with pymupdf.open(documents / question.doc) as doc:
        page = doc[question.page]
        for text in question.evidence:
            found = page.search_for(text)
            if not found:
                raise LookupError(f"'{text}' is not on page {question.page} of {question.doc}")
            if len(text) > 4:  # a short number alone is found in too many places to be a place
                boxes.extend(_box(question.page, tuple(r), "pdf_pt", text) for r in found)
    return boxes


def _box(page: int, box: Iterable[float], unit: str, text: str) -> dict[str, Any]:
    return {
        "page": page,
        "bbox": [round(v, 1) for v in box],
        "unit": unit,
        "text": text,
        "derived": True,
    }


def rows(documents: Path) -> list[dict[str, Any]]:
    """All questions in the evaluation schema. Raises ``LookupError`` for evidence that is not
    where it is said to be."""
    common = {
        "scope": "corpus",
        "question_origin": "written for this collection",
        "page_origin": "known from drawing",
        "source": "data/make_samples.py",
        "licence": "Apache-2.0",
    }
    out: list[dict[str, Any]] = []
    for number, q in enumerate(QUESTIONS, 1):
        out.append(
            {
                "qid": f"smp-{number:02d}",
                "question": q.text,
                "answers": list(q.answers),
                "answerable": True,
                "doc": q.doc,
                "pages": [q.page],
                "evidence": [{"page": q.page, "text": " | ".join(q.evidence)}],
                "boxes": _places(documents, q),
                "kind": q.kind,
                **common,
                "meta": q.meta,
            }
        )
    for number, (text, doc) in enumerate(UNANSWERABLE, len(QUESTIONS) + 1):
        out.append(
            {
                "qid": f"smp-{number:02d}",
                "question": text,
                "answers": [],
                "answerable": False,
                "doc": doc,
                "pages": [],
                "evidence": [],
                "boxes": [],
                "kind": "unanswerable",
                **common,
                "meta": {},
            }
        )
    return out


def write(documents: Path, path: Path) -> None:
    lines = (json.dumps(row, ensure_ascii=False) for row in rows(documents))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
