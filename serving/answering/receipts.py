"""Evidence receipts: an answer with all it rests on, in one file that can be checked offline."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from indexing.index import Index
from retrieval.errors import InputError
from retrieval.store import PageRecord
from serving.answering.types import Answer, Citation, Claim
from serving.answering.verify import check_claim, verdict_of

FORMAT = "folioscope-receipt/1"


def receipt_of(answer: Answer, index: Index) -> dict[str, Any]:
    """A receipt: question, answer, claims with their places, and the hash of every page cited."""
    cited = {c.page_id: c for claim in answer.claims for c in claim.citations if c.page_id >= 0}
    pages = {}
    for page_id in sorted(cited):
        record = index.page(page_id)
        row = index.document(record.doc_id)
        pages[str(page_id)] = {
            "document_sha256": row.sha256,
            "page": record.number,
            "words_sha256": words_hash(record),
        }
    body: dict[str, Any] = {
        "format": FORMAT,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "question": answer.question,
        "status": answer.status,
        "text": answer.text,
        "verdict": answer.verdict,
        "confidence": answer.confidence,
        "model": answer.model,
        "settings": dict(answer.settings),
        "usage": dict(answer.usage),
        "encoder": index.encoder.id,
        "encoder_fingerprint": index.encoder.fingerprint,
        "index_generation": answer.index_generation,
        "claims": [asdict(claim) for claim in answer.claims],
        "conflicts": [asdict(claim) for claim in answer.conflicts],
        "pages": pages,
        "hits": [
            {"page_id": h.page_id, "doc_id": h.doc_id, "page": h.page, "score": h.score}
            for h in answer.hits
        ],
        "safety": dict(answer.safety),
    }
    return {**body, "sha256": _digest(body)}


def words_hash(record: PageRecord) -> str:
    """SHA-256 over a page's words and boxes as the index holds them."""
    hasher = hashlib.sha256("\n".join(record.words.texts).encode())
    hasher.update(record.words.boxes.astype("<f4").tobytes())
    return hasher.hexdigest()


def verify_receipt(path: Path, index: Index) -> list[str]:
    """What of a receipt no longer holds; empty if all of it does.

    Raises ``InputError`` if the file is not a receipt.
    """
    try:
        receipt = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a receipt of `folioscope ask --receipt` ({error})"
        ) from error
    if not isinstance(receipt, dict) or receipt.get("format") != FORMAT:
        raise InputError(f"{path}: not a receipt of `folioscope ask --receipt` (no {FORMAT})")
    try:
        return _problems(receipt, index)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: a receipt that lacks something or was altered ({error!r}); make it anew"
        ) from error


def _problems(receipt: dict[str, Any], index: Index) -> list[str]:
    problems = []
    digest = receipt.pop("sha256", "")
    if digest != _digest(receipt):
        problems.append("the receipt was altered after it was made")
    if receipt["encoder_fingerprint"] != index.encoder.fingerprint:
        problems.append("the index was built by another encoder since")
    records: dict[int, PageRecord] = {}
    for page_id, kept in receipt["pages"].items():
        try:
            record = index.page(int(page_id))
            row = index.document(record.doc_id)
        except InputError:
            problems.append(f"page {page_id} is no longer in the index")
            continue
        records[int(page_id)] = record
        if row.sha256 != kept["document_sha256"] or record.number != kept["page"]:
            problems.append(f"page {page_id} is of another document now")
        elif words_hash(record) != kept["words_sha256"]:
            problems.append(f"the words of page {page_id} are others now")
    claims = [_claim(claim) for claim in receipt["claims"]]
    again = [check_claim(claim, records, receipt["question"]) for claim in claims]
    for number, (was, now) in enumerate(zip(claims, again, strict=True), 1):
        if was.verdict != now.verdict:
            why = "; ".join(now.problems) or "its evidence holds"
            problems.append(f"claim {number} was {was.verdict}, is {now.verdict}: {why}")
    if claims and verdict_of(again) != receipt["verdict"]:
        problems.append(f"the answer was {receipt['verdict']}, is {verdict_of(again)}")
    return problems


def _claim(said: Mapping[str, Any]) -> Claim:
    citations = tuple(
        Citation(
            **{
                **c,
                "box": tuple(c["box"]),
                "problems": tuple(c["problems"]),
                "answer_box": tuple(c["answer_box"]) if c.get("answer_box") else None,
            }
        )
        for c in said["citations"]
    )
    return Claim(
        said["text"], citations, said["arithmetic"], said["verdict"], tuple(said["problems"])
    )


def _digest(body: Mapping[str, Any]) -> str:
    plain = json.dumps(body, sort_keys=True, ensure_ascii=False, default=str)
    # Tuples become lists on the way through a file; both must give the same digest.
    return hashlib.sha256(
        json.dumps(json.loads(plain), sort_keys=True, ensure_ascii=False).encode()
    ).hexdigest()
