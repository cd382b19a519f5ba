"""The FAISS index types of the coarse stage: which to take when, and how each is scored.

Measured by ``folioscope bench coarse``. Scalar codes scored one by one beat every
approximate type up to some hundred thousand vectors, because a question has many tokens and
the scan reads the vectors once for all of them, while an inverted file or a graph is searched
anew for every token. Beyond that, 4-bit product codes in an inverted file find pages, and
scalar codes kept beside them score these pages: faster and better than either alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from retrieval.maxsim import maxsim
from retrieval.types import FloatArray

CoarseKind = Literal["flat", "sq8", "hnsw", "ivf_sq8", "ivf_pq4fs"]
KINDS: tuple[str, ...] = get_args(CoarseKind)
# Scanned from end to end: exact but for the rounding of the codes.
SCANNED = frozenset({"flat", "sq8"})
# Up to here float32 vectors are small enough to keep whole.
_FLAT_UP_TO = 10_000
# Up to here scanning all scalar codes takes no longer than searching, and misses nothing.
_SCAN_UP_TO = 300_000
_SAMPLE_A_LIST = 64
_RANGE_SAMPLE = 100_000
_HNSW_LINKS = 24


def library() -> Any:
    """FAISS, loaded when it is first needed; its type stubs miss half of what is used here."""
    return import_module("faiss")


def choose(n_vectors: int) -> CoarseKind:
    """The type that ``auto`` stands for at this number of vectors."""
    if n_vectors <= _FLAT_UP_TO:
        return "flat"
    if n_vectors <= _SCAN_UP_TO:
        return "sq8"
    return "ivf_pq4fs"


def lists_for(n_vectors: int) -> int:
    """Inverted lists for n vectors: a power of two near twice the square root."""
    return int(2 ** np.clip(np.round(np.log2(max(n_vectors, 1)) / 2 + 1), 0, 16))


def sample_size(kind: str, n_vectors: int) -> int:
    """Vectors that training needs; 0 for a type that is not trained."""
    if kind == "flat":
        return 0
    if kind.startswith("ivf"):
        return min(n_vectors, max(_SAMPLE_A_LIST * lists_for(n_vectors), 4096))
    return min(n_vectors, _RANGE_SAMPLE)


def make(kind: str, dim: int, n_vectors: int) -> Any:
    """An empty FAISS index; train it unless ``is_trained``."""
    faiss = library()

    inner_product = faiss.METRIC_INNER_PRODUCT
    eight_bits = faiss.ScalarQuantizer.QT_8bit
    if kind == "flat":
        return faiss.IndexFlatIP(dim)
    if kind == "sq8":
        return faiss.IndexScalarQuantizer(dim, eight_bits, inner_product)
    if kind == "hnsw":
        graph: Any = faiss.IndexHNSWSQ(dim, eight_bits, _HNSW_LINKS, inner_product)
        graph.hnsw.efConstruction = 80
        graph.hnsw.efSearch = 128
        return graph
    n_lists = lists_for(n_vectors)
    coarse = faiss.IndexFlatIP(dim)
    if kind == "ivf_sq8":
        inverted = faiss.IndexIVFScalarQuantizer(coarse, dim, n_lists, eight_bits, inner_product)
    elif kind == "ivf_pq4fs":
        inverted = faiss.IndexIVFPQFastScan(coarse, dim, n_lists, dim // 2, 4, inner_product)
    else:
        raise ValueError(f"kind must be auto or one of {', '.join(KINDS)}, not {kind!r}")
    inverted.nprobe = max(1, min(n_lists, 32))
    inverted.cp.max_points_per_centroid = 4 * _SAMPLE_A_LIST
    inverted.cp.min_points_per_centroid = 1
    if kind == "ivf_sq8":
        return inverted
    scalar = faiss.IndexScalarQuantizer(dim, eight_bits, inner_product)
    refined = faiss.IndexRefine(inverted, scalar)
    for part in (inverted, scalar):
        part.this.disown()
    refined.own_fields = refined.own_refine_index = True
    return refined


def kind_of(index: Any) -> str | None:
    """Which of ``KINDS`` a FAISS index (downcast) is; None for any other."""
    faiss = library()

    if isinstance(index, faiss.IndexRefine):
        parts = (kind_of(_parts(index, "ivf_pq4fs")[0]), kind_of(_parts(index, "ivf_pq4fs")[1]))
        return "ivf_pq4fs" if parts == ("ivf_pq4fs", "sq8") else None
    types: list[tuple[type[Any], str]] = [
        (faiss.IndexFlat, "flat"),
        (faiss.IndexScalarQuantizer, "sq8"),
        (faiss.IndexHNSWSQ, "hnsw"),
        (faiss.IndexIVFScalarQuantizer, "ivf_sq8"),
        (faiss.IndexIVFPQFastScan, "ivf_pq4fs"),
    ]
    return next((kind for type_, kind in types if isinstance(index, type_)), None)


def after_training(index: Any, kind: str) -> None:
    """Let an inverted file find a vector by its number, which scoring whole pages needs."""
    if kind == "ivf_sq8":
        index.make_direct_map()


def lists(index: Any, kind: str) -> int:
    """How many inverted lists there are; 0 in a type without any."""
    return int(_parts(index, kind)[0].nlist) if kind.startswith("ivf") else 0


def bytes_per_vector(index: Any, kind: str) -> int:
    """Resident bytes a vector takes inside FAISS."""
    dim = int(index.d)
    if kind == "flat":
        return 4 * dim
    if kind == "hnsw":
        return dim + 4 * 2 * _HNSW_LINKS + 8
    if kind == "sq8":
        return dim
    if kind == "ivf_sq8":
        return int(index.code_size) + 8 + 8  # number, and its entry in the direct map
    return int(_parts(index, kind)[0].code_size) + 8 + dim


def score_rows(
    index: Any,
    kind: str,
    query: FloatArray,
    weights: FloatArray,
    rows: NDArray[np.int64] | None,
    starts: NDArray[np.int64],
) -> FloatArray:
    """MaxSim of pages over their vectors as FAISS holds them.

    ``rows`` are the vectors' numbers, page by page as ``starts [k + 1]`` says; None for all.
    """
    if kind == "flat":
        vectors = _view(index.get_xb(), index.ntotal, index.d)
        return maxsim(query, weights, vectors if rows is None else vectors[rows], starts)
    if kind == "ivf_sq8":
        wanted = np.arange(int(index.ntotal)) if rows is None else rows
        return maxsim(query, weights, index.reconstruct_batch(wanted), starts)
    scalar = _parts(index, kind)[1]
    codes = _view(scalar.codes.data(), scalar.ntotal, scalar.d)
    low, width = _floats(scalar.sq.trained).reshape(2, -1)
    # component = low + width * (code + 0.5) / 255: the query takes the width, and the rest
    # is the same for all patches, so that it adds to the maximum
    offset = float(weights @ (query @ (low + width * np.float32(0.5 / 255))))
    scaled = np.asarray(query * (width / 255), np.float32)
    taken = codes if rows is None else codes[rows]
    return maxsim(scaled, weights, taken, starts) + np.float32(offset)


def _floats(vector: Any) -> FloatArray:
    """A C++ vector of floats.

    SWIG shares its types between packages: where PyMuPDF was imported too, FAISS hands out
    PyMuPDF's class for them, which FAISS's own conversion refuses.
    """
    faiss = library()

    if isinstance(vector, faiss.Float32Vector):
        found: FloatArray = faiss.vector_to_array(vector)
        return found
    return np.array(list(vector), np.float32)


def search(
    index: Any,
    kind: str,
    query: FloatArray,
    k: int,
    allowed: NDArray[np.bool_] | None,
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Each token's k nearest vectors, ``[q, k]`` similarities and numbers (-1 for none).

    ``allowed [n]`` says which vectors count. The fewer they are, the further is searched.
    """
    faiss = library()

    index = _parts(index, kind)[0]
    options: dict[str, Any] = {}
    share = 1.0
    if allowed is not None:
        bits = np.packbits(allowed, bitorder="little")
        selector = faiss.IDSelectorBitmap(len(allowed), faiss.swig_ptr(bits))
        options["sel"] = selector
        share = max(float(allowed.mean()), 1e-6)
    parameters: Any
    if kind == "hnsw":
        effort = min(int(index.ntotal), int(max(index.hnsw.efSearch, k) / share))
        parameters = faiss.SearchParametersHNSW(efSearch=effort, **options)
    else:
        effort = min(int(index.nlist), int(np.ceil(index.nprobe / share)))
        parameters = faiss.SearchParametersIVF(nprobe=effort, **options)
    # One thread a query, and only for this thread: OpenMP keeps the number for each.
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        similarities, numbers = index.search(query, k, params=parameters)
    finally:
        faiss.omp_set_num_threads(before)
    return similarities, numbers


def stored_vectors(index: Any, kind: str) -> Any:
    """The FAISS index that gives back any vector by its number."""
    return _parts(index, kind)[1]


def _parts(index: Any, kind: str) -> tuple[Any, Any]:
    """The part that is searched, and the part that holds all vectors' scalar codes in order."""
    downcast = library().downcast_index
    if kind == "hnsw":
        return index, downcast(index.storage)
    if kind == "ivf_pq4fs":
        return downcast(index.base_index), downcast(index.refine_index)
    return index, index


def _view(pointer: Any, rows: int, dim: int) -> Any:
    """FAISS's memory as ``[rows, dim]``, not copied."""
    faiss = library()

    if not rows:
        return np.zeros((0, dim), np.float32)
    return faiss.rev_swig_ptr(pointer, int(rows) * int(dim)).reshape(int(rows), int(dim))
