"""The web page has words for every flag; those that say that words are missing stand out."""

from __future__ import annotations

import re
from pathlib import Path

from indexing.flags import MEANINGS


def test_every_flag_has_words_on_the_page(repository: Path) -> None:
    source = (repository / "serving" / "web" / "dom.js").read_text()
    found = re.search(r"const FLAGS = ({.*?});.*?const GRAVE = (.*?);", source, re.DOTALL)
    assert found is not None
    said = set(re.findall(r'^ +"?([a-z-]+)"?: "', found[1], re.MULTILINE))
    assert not MEANINGS.keys() - said
    degraded = {name for name, meaning in MEANINGS.items() if meaning.verdict == "degraded"}
    assert not degraded - set(re.findall(r'"([a-z-]+)"', found[2]))
