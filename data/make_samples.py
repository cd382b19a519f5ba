"""Draw the sample documents and write their questions.

    python data/make_samples.py [--out data]

The same versions of PyMuPDF and Pillow write the same bytes every time; other versions draw
the same pages. Everything in the documents is invented.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from samples import business, manual, paper, pictures, questions, report, slides

DRAWINGS = {
    "tarnfield-annual-report-2024.pdf": report.draw,
    "kestrel-3-manual.pdf": manual.draw,
    "checkout-reliability-q3.pdf": slides.draw,
    "invoice-ff-2025-0318.pdf": business.draw_invoice,
    "allotment-application.pdf": business.draw_form,
    "counting-swifts-paper.pdf": paper.draw,
    "receipt-pilcrow-coffee.jpg": pictures.draw_receipt,
    "lantern-backup-settings.png": pictures.draw_screenshot,
}


def make(out: Path) -> None:
    """Write ``documents/`` and ``questions.jsonl`` under ``out``."""
    documents = out / "documents"
    documents.mkdir(parents=True, exist_ok=True)
    for name, draw in DRAWINGS.items():
        draw(documents / name)
    questions.write(documents, out / "questions.jsonl")


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the sample documents.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    make(parser.parse_args().out)


if __name__ == "__main__":
    main()
