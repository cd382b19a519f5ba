"""What intake says about a file or page in machine words, and what each word means.

Flags travel with the page: into the index, into every hit, into answers. A verdict sums them
up: ``fine``, ``repaired`` (all is there, by another way than usual), ``degraded`` (something
that the source shows is missing from what was read) or ``refused`` (nothing was read).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Verdict = Literal["fine", "repaired", "degraded", "refused"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a flag does to the verdict, and what it says to a person."""

    verdict: Verdict
    says: str


MEANINGS: dict[str, Meaning] = {
    # the file
    "misnamed": Meaning("fine", "its name does not fit its content"),
    "repaired": Meaning("repaired", "the file is damaged; what could be found in it was put back"),
    "opened-by-pdfium": Meaning("repaired", "damaged; only the second library could open it"),
    "pages-missing": Meaning("degraded", "it has fewer pages than it says"),
    "pages-cut": Meaning("degraded", "only its first pages were read; the limit is max_pages"),
    "recording-cut-off": Meaning("degraded", "the recording is shorter than it says"),
    "frames-thinned": Meaning(
        "degraded", "it changes more often than is kept; the limit is max_video_pages"
    ),
    "parts-left-out": Meaning(
        "degraded", "what it fetches, draws or runs is missing: linked pictures, frames, scripts"
    ),
    "attachments": Meaning("fine", "other files are attached to it, which were not read"),
    "portfolio": Meaning(
        "degraded", "it is a cover for the files in it, which were not read; take them out"
    ),
    "form-not-shown": Meaning(
        "degraded", "it is a form that only Adobe's programs show (XFA); print it to a PDF there"
    ),
    # the page
    "page-failed": Meaning("degraded", "reading the page crashed or took too long; it is empty"),
    "page-skipped": Meaning("degraded", "not tried: earlier pages took all of the file's time"),
    "size-unknown": Meaning("degraded", "the page does not say its size"),
    "text-failed": Meaning("degraded", "the page's text layer cannot be read"),
    "render-failed": Meaning("degraded", "the page cannot be drawn"),
    "ocr-failed": Meaning("degraded", "the page's picture was not read: OCR failed"),
    "cut-off": Meaning("degraded", "the picture ends early; what is below is missing"),
    "page-damaged": Meaning("degraded", "the page has errors; parts of it may be missing"),
    "rendered-by-poppler": Meaning("repaired", "drawn by poppler, as the first library failed"),
    "rendered-by-pdfium": Meaning("repaired", "drawn by pdfium, as the first library failed"),
    "text-layer-unreadable": Meaning("repaired", "the text layer is gibberish; read by OCR"),
    "illegible": Meaning(
        "degraded", "its print is too small or too faint to be read, at its own resolution"
    ),
    "partly-illegible": Meaning("degraded", "some of its print is too small to be read"),
    "detail-cut": Meaning("degraded", "not all of it was read in detail; the limit is max_tiles"),
    "one-of-several": Meaning("fine", "one of several papers on the same scan"),
    "turned": Meaning("fine", "it lies sideways or upside down; it was read as it should lie"),
    "shrunk-by-encoder": Meaning(
        "fine", "its print is too small at the encoder's input size; its words are found by text"
    ),
    "hidden-text": Meaning(
        "degraded", "it has text that nobody sees; the hidden words were left out"
    ),
    "text-missing-in-layer": Meaning(
        "repaired", "it shows text that its text layer lacks; read by OCR"
    ),
    "layer-differs": Meaning(
        "repaired", "its text layer has other numbers than its picture shows; read by OCR"
    ),
    "layer-unproved": Meaning(
        "fine", "its words are those of a text layer that OCR could not compare with its picture"
    ),
    "label-unknown": Meaning("fine", "the page's own number cannot be read"),
    "times-unknown": Meaning("fine", "when the page is shown is not known"),
    "outline-unknown": Meaning("fine", "the document's outline cannot be read"),
    "pictures-unknown": Meaning("fine", "the pictures on the page cannot be listed"),
}


def verdict_of(flags: Iterable[str]) -> Verdict:
    """The worst that ``flags`` say; a flag that is not known here says nothing."""
    found = [MEANINGS[flag].verdict for flag in flags if flag in MEANINGS]
    return max(found, key=VERDICTS.index, default="fine")


# Something went wrong with the file or with reading it, so that words may be missing.
_LOSSES = (
    "pages-missing",
    "recording-cut-off",
    "page-failed",
    "page-skipped",
    "text-failed",
    "render-failed",
    "ocr-failed",
    "cut-off",
)

# The file is damaged; whether words went with it these do not say.
_DAMAGE = ("repaired", "opened-by-pdfium", "page-damaged")


def losses(flags: Mapping[str, int]) -> dict[str, int]:
    """Those of a document's flags, with how often each, that tell of a failure to read."""
    return {flag: flags[flag] for flag in _LOSSES if flags.get(flag)}


def damage(flags: Mapping[str, int]) -> dict[str, int]:
    """Those of a document's flags, with how often each, that tell of a damaged file."""
    return {flag: flags[flag] for flag in _DAMAGE if flags.get(flag)}


def lacks(flags: Mapping[str, int]) -> dict[str, int]:
    """Those of a document's flags, with how often each, that tell that words may be missing."""
    return {flag: flags[flag] for flag in (*_LOSSES, "page-damaged") if flags.get(flag)}


def in_sentence(flag: str) -> str:
    """What ``flag`` means, for people; the flag itself if it is not known here."""
    meaning = MEANINGS.get(flag)
    return meaning.says if meaning else flag
