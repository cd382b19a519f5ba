"""What a question asks for, word by word: the thing, what of it is measured, and in which unit.

A page answers where it accounts for every one of these words; which of them a page may leave out
("does", "need", "please") is common English, the same for every document.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from serving.answering.quantities import dimension_of, unit_form
from serving.answering.spans import asked_for, asking_sentence, number_value

# Words that a page need not have: how a question is put, and verbs that say little.
_LIGHT = frozenset(
    (
        *("a", "an", "the", "this", "that", "these", "those", "there", "it", "its", "their", "one"),
        *("i", "we", "you", "they", "he", "she", "my", "our", "your", "me", "us", "them", "who"),
        *("is", "are", "was", "were", "be", "been", "being", "do", "does", "did", "done", "doing"),
        *("has", "have", "had", "having", "can", "could", "may", "might", "must", "shall", "will"),
        *("should", "would", "ought", "what", "which", "when", "where", "how", "whose", "whom"),
        *("of", "in", "on", "at", "for", "from", "to", "by", "with", "into", "onto", "as", "per"),
        *("about", "according", "within", "during", "after", "since", "until", "than", "over"),
        *("and", "or", "if", "so", "such", "same", "please", "tell", "give", "gives", "given"),
        *("show", "shown", "say", "says", "said", "state", "stated", "states", "mention", "find"),
        *("much", "many", "long", "often", "more", "also", "just", "exactly", "all", "any", "each"),
        *("need", "needs", "needed", "take", "takes", "took", "taken", "get", "gets", "got", "go"),
        *("goes", "went", "come", "comes", "set", "sets", "setting", "settings", "use", "used"),
        *("uses", "make", "made", "makes", "put", "apply", "applies", "spend", "spent"),
        *("lasts", "run", "runs", "allowed", "required", "require", "requires", "measured", "off"),
        *(
            "content",
            "level",
            "quantity",
            "earn",
            "earned",
            "achieve",
            "achieved",
            "bring",
            "brought",
        ),
        *("amount", "amounted", "value", "figure", "number", "mean", "means", "stand", "stands"),
        *("document", "documents", "page", "pages", "table", "manual", "sheet", "file", "text"),
        *("report", "time", "times", "date", "up", "out", "am", "s", "t", "re", "not", "too"),
    )
)
# What nouns, adjectives and verbs want measured. A label with one of the words means it too.
_MEASURES: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    name: (frozenset(dimensions.split()), frozenset(words.split()))
    for name, dimensions, words in (
        ("pressure", "pressure", "pressure"),
        ("temperature", "temperature", "temperature temp hot cold warm"),
        ("voltage", "voltage", "voltage volt"),
        ("current", "current", "current amperage"),
        ("power", "power", "power wattage"),
        ("energy", "energy", "energy"),
        ("frequency", "frequency", "frequency"),
        ("resistance", "resistance", "resistance"),
        ("force", "force", "force"),
        ("torque", "torque", "torque"),
        ("weight", "mass", "weight weigh weighs mass heavy"),
        ("length", "length", "length width wide height tall high depth deep thickness thick"),
        ("diameter", "length", "diameter radius distance far"),
        ("area", "area", "area"),
        ("volume", "volume", "volume"),
        ("capacity", "charge volume mass", "capacity"),
        ("flow", "flow", "flow"),
        ("speed", "speed", "speed fast velocity rpm"),
        ("duration", "duration", "duration term period"),
        ("noise", "noise", "noise loud loudness sound"),
        ("share", "percent", "percent percentage proportion"),
        ("price", "money", "price cost charge paid pay"),
    )
}
_SAME = (
    ("begin", "start", "commence"),
    ("end", "finish", "expire"),
    ("leav", "depart", "departur"),
    ("reach", "arriv", "arrival"),
    ("employe", "staff"),
)
_ONE = {word: group[0] for group in _SAME for word in group}
_STEP = re.compile(r"\b(?:step|stage|point|item|section|clause)\s+(\d{1,2})\b", re.IGNORECASE)
# The verb; "the last meeting" is another one than the next.
_LASTS = re.compile(r"\bhow (?:long|many|much)\b.*\blast\b|\blast\W*$")
_ASKS = re.compile(r"\b(?:what|which|who|whose|how|when|where)\b", re.IGNORECASE)
_HOW_MANY = re.compile(r"\bhow many\s+(?:more\s+)?([^\W\d]+|%)", re.IGNORECASE)
_TOKEN = re.compile(r"\d+(?:[.,'\u00a0]\d+)*(?![\w])|[^\W_]+(?:['\u2019]s\b)?|%")
_WHEN = re.compile(
    r"^\W*(?:(?:since|until|till|from|by|and|so) )?when\b"
    r"|\b(?:what|which) (?:is the )?(?:day|date)\b|\bdate of\b"
)
# "The cooling time" is how long, "the departure time" when.
_TIME_OF = re.compile(r"\b(?:what|which) (?:is |are |was )?(?:the )?(?:[\w-]+ ){1,3}times?\b")
_NOUN_ENDS = re.compile(
    r"\b(?:of|for|in|on|at|is|are|was|were|does|do|did|has|have|must|may|should|can|will|a|the|with"
    r"|to|needs?|by|during)\b"
)
# Tables of times have no verbs: a time of a programme is when something begins.
MOVES = frozenset(("leav", "reach", "begin"))


@dataclass(frozen=True, slots=True)
class Wanted:
    """``terms``: what the page must say, in stems. ``measures``: names of what is measured, which a
    value's unit may say instead; ``dimensions`` of them, empty if any value will do. ``unit``: the
    one that is named. ``counted``: stem of what is counted. ``every``: how often. ``step``: the
    numbered step. ``years`` are terms too."""

    terms: frozenset[str]
    dimensions: frozenset[str]
    measures: frozenset[str] = frozenset()
    unit: str = ""
    counted: str = ""
    every: bool = False
    step: str = ""
    years: frozenset[str] = frozenset()


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """A word's stem, alike for its forms; codes and numbers in one form.

    >>> [stem(w) for w in ("descaled", "Descale", "baking", "drying", "Dried", "1,000", "AX40")]
    ['descal', 'descal', 'bak', 'dri', 'dri', '1000', 'ax40']
    """
    plain = re.sub(r"['\u2019]s?$", "", word).lower()
    if any(c.isdigit() for c in plain):
        if plain.isdigit() or not re.search(r"[^\W\d]", plain):
            value = number_value(plain)
            return plain if value is None else f"{value.normalize():f}"
        return plain
    for ending in ("ings", "ing", "ies", "ied", "ed", "es", "s", "ly"):
        if plain.endswith(ending) and len(plain) - len(ending) > 2:
            plain = plain.removesuffix(ending) + ("y" if ending in ("ies", "ied") else "")
            break
    if len(plain) > 3 and plain[-1] == plain[-2] and plain[-1] not in "aeiouls":
        plain = plain[:-1]
    plain = plain.removesuffix("e") if len(plain) > 3 else plain
    plain = f"{plain[:-1]}i" if len(plain) > 2 and plain.endswith("y") else plain
    return _ONE.get(plain, plain)


def stems(text: str) -> frozenset[str]:
    """The stems of a text's words that say something. A capital alone is a name: "Well A".

    >>> sorted(stems("What is the limit of well A in 2,000 l?"))
    ['2000', 'A', 'l', 'limit', 'well']
    """
    found = set()
    for match in _TOKEN.finditer(text):
        word = match.group()
        if len(word) == 1 and word.isupper() and word != "I" and match.start():
            found.add(word)
        elif word.lower() not in _LIGHT:
            found.add(stem(word))
    return frozenset(found)


_MEASURE_OF = {word: name for name, (_, words) in _MEASURES.items() for word in words}


def measures_in(text: str) -> frozenset[str]:
    """The names of what a text's words measure.

    >>> sorted(measures_in("Weight, net; charging voltage"))
    ['voltage', 'weight']
    """
    words = re.findall(r"[^\W\d_]+", text.lower())
    found = (_MEASURE_OF.get(word) or _MEASURE_OF.get(word.removesuffix("s")) for word in words)
    return frozenset(name for name in found if name)


def speaks_of(said: frozenset[str], measures: frozenset[str]) -> bool:
    """Whether stems have a word of one of ``measures``."""
    return any(stem(word) in said for name in measures for word in _MEASURES[name][1])


def wanted(question: str) -> Wanted | None:
    """What ``question`` asks for; None if it wants no value that a page would state."""
    kind = asked_for(question)
    if kind in ("yes-no", "computed"):
        return None
    question = asking_sentence(question)
    said = question.lower()
    asks = bool(_ASKS.search(question))
    terms = set(stems(question))
    years = frozenset(term for term in terms if re.fullmatch(r"(?:1[5-9]|20)\d\d", term))
    if years:
        terms.discard("year")
    if _LASTS.search(said):
        terms.discard("last")
    step = _STEP.search(question)
    if step:
        terms -= {step[1], *stems(step.group())}
    measures: frozenset[str] = frozenset()
    unit = counted = ""
    dimensions: frozenset[str] = frozenset()
    many = _HOW_MANY.search(question)
    every = "how often" in said
    if _WHEN.search(said):
        dimensions = frozenset(("date", "time"))
    elif re.search(r"\b(?:what|which) time\b", said):
        dimensions = frozenset(("time",))
    elif _TIME_OF.search(said):
        dimensions = frozenset(("duration", "time"))
    elif many:
        named = unit_form(many[1].lower())
        if named:
            unit, dimensions = named, frozenset((dimension_of(many[1].lower()),))
            terms -= {stem(many[1])}
        else:
            counted = stem(many[1])
            terms -= {counted}
    elif every or re.search(r"\bhow long\b", said):
        dimensions = frozenset(("duration",) if every else ("duration", "length"))
    else:
        measures = _asked_measures(said) if asks else measures_in(said)
        if not (asks or measures or years or "total" in said):
            return None  # a heading, or some words to look for
        dimensions = frozenset(d for name in measures for d in _MEASURES[name][0])
        if "how much" in said and not measures:
            dimensions = frozenset(("money", "mass", "volume"))
        terms -= {stem(word) for name in measures for word in _MEASURES[name][1]}
    return Wanted(
        frozenset(terms),
        dimensions,
        measures,
        unit,
        counted,
        every,
        step[1] if step else "",
        years,
    )


def _asked_measures(said: str) -> frozenset[str]:
    """What the noun after "what", the adjective after "how" or the verb of "how much" measures."""
    match = re.search(r"\b(?:what|which)(?:['\u2019]s)?\b(?P<rest>[^?]*)", said)
    if match:
        # "What is the holding pressure for the lid", "which temperature does ...".
        rest = re.sub(r"^\s*(?:is|are|was|were)?\s*(?:the|a|an)?\s*", "", match["rest"])
        return measures_in(_NOUN_ENDS.split(rest)[0]) or frozenset(
            ("price",) if re.search(r"\bcosts?\b", rest) else ()
        )
    how = re.search(r"\bhow (?!much|many|long|often)(\w+)", said)
    if how:
        return measures_in(how[1])
    return measures_in(said) & {"price", "weight"} if "how much" in said else frozenset()
