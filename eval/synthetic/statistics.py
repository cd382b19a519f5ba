"""What the made-up collection takes from real pages: moments, spectra and counts, no content.

The model behind it is a sum of independent parts, each with a measured share of the variance:

    vector(word i on a page) = unit(kind + meaning + context + sense + rest)

``kind`` is the mean of function words, or of content words. ``meaning`` belongs to the word:
the centre of its cluster and a deviation of its own. ``context`` is what neighbouring words,
pages and the document share; it decays with their distance. ``sense`` is what the occurrences of
one word in one document, section or page share beyond that. Words follow a hierarchical
Dirichlet model over clusters (document, section, passage) with power-law choice within them.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InputError
from retrieval.types import FloatArray

SHIPPED = Path(__file__).with_name("statistics.npz")
FORMAT = "folioscope-statistics/1"

# What the context is made of, and over how many words or pages each part fades to 1/e.
CONTEXT = ("document", "chapter", "section", "window", "phrase")
CHAPTER_PAGES, SECTION_PAGES = 15.0, 2.0
WINDOW_WORDS, PHRASE_WORDS = 100.0, 3.0
# What all occurrences of a word share within a document, a block of pages, a page.
SENSE = ("word_document", "word_section", "word_page")
BLOCK_PAGES = 4
PASSAGE_WORDS = 64
FUNCTION, CONTENT = 0, 1


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Measured on an index by ``measure.measure_statistics``.

    Matrices are ``[d, d]`` or ``[n, d] float32``. ``shares`` maps every part in ``CONTEXT``,
    ``SENSE`` and ``rest`` to its variance for function and for content words. ``text`` and
    ``question`` hold the numbers of the word model and of questions, by name; ``quantiles``
    are 101 values at every per cent: ``patches`` a page and ``pages`` a document.
    """

    kind_means: FloatArray
    function_covariance: FloatArray
    cluster_centres: FloatArray
    cluster_shares: FloatArray
    meaning_covariance: FloatArray
    context_covariance: FloatArray
    rest_covariance: FloatArray
    shares: Mapping[str, tuple[float, float]]
    text: Mapping[str, float]
    question: Mapping[str, float]
    patches: FloatArray
    pages: FloatArray
    about: Mapping[str, Any]

    @property
    def dim(self) -> int:
        """Components a vector."""
        return int(self.kind_means.shape[1])

    def mean_patches(self) -> float:
        """Patches a page, on average."""
        return float(quantile_mean(self.patches))

    def write(self, path: Path) -> None:
        """One compressed file; matrices as float16."""
        arrays: dict[str, NDArray[Any]] = {}
        plain: dict[str, Any] = {"format": FORMAT}
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                arrays[name] = value.astype(np.float16 if value.ndim == 2 else np.float32)
            else:
                plain[name] = dict(value)
        text = np.frombuffer(json.dumps(plain, sort_keys=True).encode(), np.uint8)
        with path.open("wb") as file:
            np.savez_compressed(file, plain=text, **arrays)  # type: ignore[arg-type]

    @staticmethod
    def read(path: Path = SHIPPED) -> Statistics:
        """What ``write`` wrote; without a path, what is shipped. Raises ``InputError``."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name].astype(np.float32) for name in stored.files}
                plain = json.loads(stored["plain"].tobytes())
            if plain.pop("format") != FORMAT:
                raise ValueError(f"it is not {FORMAT}")
            arrays.pop("plain")
            shares = {name: (float(f), float(c)) for name, (f, c) in plain.pop("shares").items()}
            return Statistics(**arrays, **plain, shares=shares)
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{path}: not statistics of `folioscope bench statistics` ({error})"
            ) from error


def quantile_mean(values: FloatArray) -> float:
    """The mean of a distribution given by its values at evenly spaced quantiles."""
    return float((values[1:] + values[:-1]).mean() / 2)


def draw(values: FloatArray, uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draws from such a distribution, by ``uniform`` numbers in [0, 1)."""
    return np.interp(uniform, np.linspace(0, 1, len(values)), values)


def root(covariance: FloatArray) -> FloatArray:
    """A symmetric square root: white noise times it has this covariance.

    Estimated covariances can have slightly negative eigenvalues; those count as zero.
    """
    values, vectors = np.linalg.eigh(covariance.astype(np.float64))
    half: FloatArray = ((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T).astype(np.float32)
    return half
