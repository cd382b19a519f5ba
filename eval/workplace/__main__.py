"""``python -m eval.workplace OUT``."""

from __future__ import annotations

import sys
from pathlib import Path

from eval.workplace.draw import write_collection

if len(sys.argv) != 2:
    sys.exit("usage: python -m eval.workplace OUT")
print(
    f"{write_collection(Path(sys.argv[1]))} documents; questions in {sys.argv[1]}/questions.jsonl"
)
