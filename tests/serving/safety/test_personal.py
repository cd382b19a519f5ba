"""Personal data in answers; the numbers are those that standards print as examples."""

from __future__ import annotations

import pytest

pytest.importorskip("phonenumbers", reason="needs the extra 'safety'")
pytest.importorskip("stdnum", reason="needs the extra 'safety'")

from serving.safety.policy import CategoryPolicy, Policy
from serving.safety.setup import open_gate

POLICY = Policy(
    fast=("personal",),
    heavy=("personal",),
    categories={"personal": CategoryPolicy(review=0.5, block=0.8)},
)


@pytest.mark.parametrize(
    ("answer", "band", "named"),
    [
        ("Pay to GB82 WEST 1234 5698 7654 32 BY FRIDAY", "block", "bank account"),
        ("The card is 4111 1111 1111 1111.", "block", "card number"),
        ("Her number is 536-90-4399.", "block", "social security number"),
        ("Write to ann@example.com.", "review", "e-mail address"),
        ("Call +41 44 668 18 00.", "review", "telephone number"),
        ("GB82 WEST 1234 5698 7654 33", "allow", ""),
        ("The card is 4111 1111 1111 1112.", "allow", ""),
        ("Net revenue was 4,111,111 in 2023, and 1,234,567,890,123 in all.", "allow", ""),
        ("Invoice 2023-11-4399 of 12/03/2024, page 12 of 40.", "allow", ""),
    ],
)
def test_what_can_be_verified_is_found_in_an_answer(answer: str, band: str, named: str) -> None:
    verdict = open_gate(POLICY).after("Who?", (), answer)
    assert verdict.band == band and not verdict.failures
    said = " ".join(verdict.reasons)
    assert named in said
    assert not any(word in said for word in answer.split() if any(map(str.isdigit, word)))


def test_what_the_asker_says_is_the_askers() -> None:
    assert open_gate(POLICY).before("Who is ann@example.com?", ()).band == "allow"
