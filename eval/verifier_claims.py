"""True claims and planted lies about real pages: what the verifier lets pass, and what it catches.

A model that tells the truth does not write as the page does: it says a number in a sentence, with
other thousands marks, in another scale, or works it out. A stand-in of such a model takes each
question's expected answer, cites the row of the answering page that states it, and says it in
several ways. Every true claim has its lies: another digit, a page that was not found, a quote the
page does not have, a box elsewhere.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from eval.benchmark import Benchmark
from eval.datasets import Question, read_questions
from indexing.index import Index
from retrieval.errors import InputError
from retrieval.store import PageRecord
from retrieval.types import Box
from serving.answering.layout import lay_out, union
from serving.answering.spans import DATE, date_key, focus_of, number_value
from serving.answering.types import Citation, Claim
from serving.answering.verify import check_claim, find_quote

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November"),
)
_LONGEST = 120
# Footnotes' letters may stand right behind a number.
_NUMBER = re.compile(r"\W*\d[\d,.]*\W*[a-e]{0,2}")


def measure_verifier(
    questions_file: Path, index_folder: Path, half: str | None = None
) -> Benchmark:
    """One row a way of saying it: how many claims, how many did not pass; true ones, then lies.

    Raises ``InputError`` if no expected answer stands on its page.
    """
    index = Index.open(index_folder)
    counted: dict[tuple[bool, str], list[int]] = defaultdict(lambda: [0, 0])
    used = asked = 0
    for question in read_questions(questions_file):
        if (half and question.half != half) or not question.answers:
            continue
        asked += 1
        cited = _stated(question, index)
        if cited is None:
            continue
        used += 1
        citation, record, answer = cited
        pages = {record.page_id: record}
        for true, name, claim in _claims(question, answer, citation, record):
            row = counted[(true, name)]
            row[0] += 1
            row[1] += check_claim(claim, pages, question.text).verdict != "supported"
    if not used:
        raise InputError(f"{questions_file}: no expected answer stands on its page in this index")
    rows: list[dict[str, Any]] = [
        {
            "claims": "true" if true else "lies",
            "said": name,
            "n": n,
            "not_passed": failed,
            "share": failed / n,
        }
        for (true, name), (n, failed) in sorted(counted.items(), reverse=True)
    ]
    for true in (True, False):
        those = [row for (kind, _), row in counted.items() if kind == true]
        n, failed = sum(row[0] for row in those), sum(row[1] for row in those)
        rows.append(
            {
                "claims": "true" if true else "lies",
                "said": "all",
                "n": n,
                "not_passed": failed,
                "share": failed / n if n else None,
            }
        )
    return Benchmark("verifier", rows, {"questions": asked, "stated_on_page": used, "half": half})


def _stated(question: Question, index: Index) -> tuple[Citation, PageRecord, str] | None:
    """Where an answering page states an expected answer as it is: the row, or the words."""
    doc = index.find(question.doc)
    for number in sorted(question.pages):
        page_id = index.page_id(doc, number)
        if page_id is None:
            continue
        record = index.page(page_id)
        for answer in question.answers:
            found = _row_with(answer, record) or _words_of(answer, record)
            if found is not None:
                quote, box = found
                name = Path(question.doc).name
                return Citation(page_id, doc, name, number, box, quote), record, answer
    return None


def _row_with(answer: str, record: PageRecord) -> tuple[str, Box] | None:
    value = number_value(answer)
    if value is None or not re.fullmatch(r"[^\w]*[A-Z]{0,3}\s?[\d.,]+\s?%?", answer):
        return None
    words = record.words
    for row in lay_out(words).rows:
        for i in row:
            if not _NUMBER.fullmatch(words.texts[i]):
                continue
            said = number_value(words.texts[i])
            if said is not None and abs(said) == abs(value) and len(row) <= 25:
                return " ".join(words.texts[j] for j in row), union(words.boxes, row)
    return None


def _words_of(answer: str, record: PageRecord) -> tuple[str, Box] | None:
    if len(answer) < 4 or len(answer) > _LONGEST or not re.search(r"[A-Za-z]{3}", answer):
        return None
    box = find_quote(answer, record)
    return None if box is None else (answer, box)


def _claims(
    question: Question, answer: str, citation: Citation, record: PageRecord
) -> Iterator[tuple[bool, str, Claim]]:
    """Whether it is true, how it is said, the claim."""
    focus = focus_of(question.text)
    value = number_value(answer) if _row_with(answer, record) else None
    said = f"It is {answer}."
    yield True, "in a sentence", Claim(said, (citation,))
    yield True, "with the question's words", Claim(f"The {focus} is {answer}.", (citation,))
    whole = replace(citation, box=(0.0, 0.0, 1.0, 1.0))
    if find_quote(citation.quote, record) is not None:
        yield True, "citing the whole page", Claim(said, (whole,))
    if value is not None:
        value = abs(value)
        plain = f"{value.normalize():f}"
        yield True, "without thousands marks", Claim(f"It is {plain}.", (citation,))
        yield True, "with thousands marks", Claim(f"It is {value:,}.", (citation,))
        if value >= 1000:
            step = f"{plain} / 1000 = {value / 1000:.2f}"
            yield True, "worked out", Claim(f"It is {value / 1000:.2f}.", (citation,), step)
            exact = f"{(value / 1000).normalize():f}"
            yield True, "in another scale", Claim(f"It is {exact} thousand.", (citation,))
        yield False, "another digit", Claim(f"It is {_altered(plain)}.", (citation,))
        wrong = replace(citation, quote=citation.quote.replace(_token(citation, value), "98765"))
        yield False, "another quote", Claim("It is 98765.", (wrong,))
        step = f"{plain} + 11 = {value + 12:f}"
        yield False, "false arithmetic", Claim(f"It is {value + 12:f}.", (citation,), step)
    date = date_key(answer) if DATE.fullmatch(answer) else None
    if date is not None and len(date) == 3 and date[1] <= 11:
        other = f"{date[2]} {_MONTHS[date[1] - 1]} {date[0]}"
        yield True, "a date in words", Claim(f"It is {other}.", (citation,))
    yield False, "a page not found", Claim(said, (replace(citation, page_id=-1),))
    invented = replace(citation, quote=f"{citation.quote} zebra quartz vortex jukebox")
    yield False, "words invented", Claim(said, (invented,))
    elsewhere = _elsewhere(citation, record)
    if elsewhere is not None:
        yield False, "a box elsewhere", Claim(said, (elsewhere,))
    yield False, "cites nothing", Claim(said, ())
    yield False, "a name invented", Claim(f"Quentin Zweig says it is {answer}.", (citation,))


def _token(citation: Citation, value: Decimal) -> str:
    for word in citation.quote.split():
        said = number_value(word)
        if said is not None and abs(said) == value:
            return word
    return citation.quote


def _altered(plain: str) -> str:
    """``plain`` with its first digit another."""
    at = next(i for i, c in enumerate(plain) if c.isdigit())
    return f"{plain[:at]}{(int(plain[at]) + 4) % 9 + 1}{plain[at + 1 :]}"


def _elsewhere(citation: Citation, record: PageRecord) -> Citation | None:
    """The citation with a small box at the other end of the page, if the words do not stand
    there too."""
    y = (citation.box[1] + citation.box[3]) / 2
    box = (0.02, 0.01, 0.2, 0.05) if y > 0.5 else (0.02, 0.94, 0.2, 0.98)
    words = record.words
    inside = [
        words.texts[i]
        for i in range(len(words))
        if box[1] - 0.02 <= (words.boxes[i, 1] + words.boxes[i, 3]) / 2 <= box[3] + 0.02
    ]
    if set(citation.quote.split()) & set(inside):
        return None
    return replace(citation, box=box)
