/* Late-interaction scores over stored patches: retrieval/maxsim.py says what and why.
 *
 * A page is read once, a few patches at a time, against all tokens of the query; the matrix of
 * similarities is never made. Bytes and bits are multiplied with a query rounded to 8 bits (7
 * where there is only AVX2). That error would show in the scores, so these sums only choose:
 * each token's best patch, and the best window of a page. What is chosen is multiplied again in
 * float32, one product a token and page. A score can then never be above the exact one, and is
 * below it only if two patches were as good as equal (retrieval/maxsim.py has the bound).
 *
 * _maxsim_blocks.h has the inner loops. The best level that the processor has is used.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if defined(__GNUC__) /* gcc and clang: their vector types */

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "_maxsim_blocks.h"

enum { KIND_INT8, KIND_UINT8, KIND_FLOAT16, KIND_FLOAT32, KIND_BITS, KIND_SCALED };

#define FRACTION_BYTES 2 /* behind the codes of KIND_SCALED: a little-endian 65,536th */

#define AHEAD 4 /* blocks of ROWS patches that are read before they are multiplied */

typedef void (*FloatLoop)(const float *, const float *, Py_ssize_t, Py_ssize_t, int32_t, float *,
                          int32_t *);
typedef void (*ByteLoop)(const int8_t *, const uint8_t *, const float *, const int32_t *,
                         Py_ssize_t, Py_ssize_t, int32_t, float *, int32_t *);

/* What a processor can do; a 16 or a byte loop may be absent. */
typedef struct {
    const char *name;
    FloatLoop float8, float16;
    ByteLoop byte8, byte16;
    int query_limit; /* largest component of the rounded query against whole bytes */
    float (*dot)(const float *, const float *, Py_ssize_t);
    void (*half)(const uint16_t *, float *, Py_ssize_t);
    void (*bytes)(const uint8_t *, int, float *, Py_ssize_t);
    float (*dot_signs)(const float *, const uint8_t *, Py_ssize_t);
    void (*spread)(const uint8_t *, uint8_t *, Py_ssize_t);
} Level;

static const Level LEVELS[] = {
#if defined(__x86_64__)
    {"avx512vnni", float8_avx512, float16_avx512, byte8_avx512, byte16_avx512, 127, dot_avx2,
     widen_half_avx2, widen_bytes_avx2, dot_signs_avx512, spread_avx2},
    {"avx2", float8_avx2, NULL, byte8_avx2, NULL, 64, dot_avx2, widen_half_avx2,
     widen_bytes_avx2, dot_signs_avx2, spread_avx2},
#endif
    {"portable", float8_plain, NULL, NULL, NULL, 0, dot_plain, widen_half_plain,
     widen_bytes_plain, NULL, NULL},
};
#define N_LEVELS ((int)(sizeof LEVELS / sizeof *LEVELS))

static int is_supported(const Level *level) {
#if defined(__x86_64__)
    if (!strcmp(level->name, "avx512vnni"))
        return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (!strcmp(level->name, "avx2"))
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               __builtin_cpu_supports("f16c");
#endif
    return !strcmp(level->name, "portable");
}

static uint64_t SPREAD[256]; /* eight bits as eight bytes of 0 or 1 */

typedef struct {
    const Level *level;
    int kind;
    int as_bytes;            /* multiply bytes, then score what was chosen */
    const uint8_t *codes;    /* [n][row_bytes] */
    Py_ssize_t row_bytes;
    Py_ssize_t dim, float_pieces, byte_pieces; /* pieces of PIECE bytes, rounded up */
    Py_ssize_t tokens, wide; /* the first `wide` tokens go 16 at a time */
    Py_ssize_t lanes;        /* tokens, rounded up */
    const float *query;      /* [tokens][dim] */
    float *columns;          /* [lanes / W][4 float_pieces][W] */
    int8_t *rounded;         /* [lanes / W][4 byte_pieces][W][4] */
    int32_t *from;           /* [lanes]: what the sum over a patch's bytes begins with */
    float *steps, *offsets;  /* [lanes]: similarity = step * (scaled sum - offset) */
    float *one;              /* [4 float_pieces]: a patch */
    float *rows;             /* [AHEAD][float_pieces][ROWS][4] */
    uint8_t *byte_rows;      /* [AHEAD][byte_pieces][ROWS][PIECE] */
    float *fractions;        /* [AHEAD * ROWS]: what a patch's sum is multiplied by */
} Job;

static float fraction_of(const Job *job, Py_ssize_t row) {
    if (job->kind != KIND_SCALED) return 1.0f;
    const uint8_t *at = job->codes + row * job->row_bytes + job->dim;
    return (float)(at[0] | at[1] << 8) / 65536.0f;
}

static void read_floats(const Job *job, Py_ssize_t row, float *out) {
    const uint8_t *codes = job->codes + row * job->row_bytes;
    switch (job->kind) {
    case KIND_FLOAT32: memcpy(out, codes, (size_t)job->dim * 4); break;
    case KIND_FLOAT16: job->level->half((const uint16_t *)codes, out, job->dim); break;
    case KIND_BITS:
        for (Py_ssize_t j = 0; j < job->dim; j += 8) {
            const uint8_t *bits = (const uint8_t *)&SPREAD[codes[j / 8]];
            const Py_ssize_t here = job->dim - j < 8 ? job->dim - j : 8;
            for (Py_ssize_t i = 0; i < here; i++) out[j + i] = (float)(2 * bits[i] - 1);
        }
        break;
    default: job->level->bytes(codes, job->kind != KIND_UINT8, out, job->dim);
    }
    if (job->kind == KIND_SCALED) {
        const float fraction = fraction_of(job, row);
        for (Py_ssize_t j = 0; j < job->dim; j++) out[j] *= fraction;
    }
}

/* A patch into its place among ROWS others. What is behind `dim` meets zeros of the query. */
static void place_floats(const Job *job, Py_ssize_t row, float *out) {
    read_floats(job, row, job->one);
    for (Py_ssize_t p = 0; p < job->float_pieces; p++)
        memcpy(out + p * ROWS * 4, job->one + p * 4, PIECE);
}

/* The same as bytes: signed codes are moved up by 128, bits become 0 and 1. */
static void place_bytes(const Job *job, Py_ssize_t row, uint8_t *out) {
    const uint8_t *codes = job->codes + row * job->row_bytes;
    const uint8_t flip = job->kind == KIND_INT8 || job->kind == KIND_SCALED ? 0x80 : 0;
    if (job->kind == KIND_BITS) {
        job->level->spread(codes, out, job->row_bytes);
        return;
    }
    for (Py_ssize_t p = 0; p < job->byte_pieces; p++, out += ROWS * PIECE) {
        if (PIECE * (p + 1) <= job->dim) {
            u16 piece;
            memcpy(&piece, codes + PIECE * p, PIECE);
            piece ^= flip;
            memcpy(out, &piece, PIECE);
        } else {
            for (Py_ssize_t j = 0; j < job->dim - PIECE * p; j++)
                out[j] = codes[PIECE * p + j] ^ flip;
        }
    }
}

/* best [lanes] and arg [lanes] over the patches first..last-1, of which there is at least one.
 * A block's missing patches repeat its last: zeros would beat a page of negative similarities. */
static void best_patches(const Job *job, Py_ssize_t first, Py_ssize_t last, float *best,
                         int32_t *arg) {
    const Level *level = job->level;
    for (Py_ssize_t lane = 0; lane < job->lanes; lane++) {
        best[lane] = -INFINITY;
        arg[lane] = (int32_t)first;
    }
    for (Py_ssize_t at = first; at < last; at += AHEAD * ROWS) {
        const Py_ssize_t left = last - at < AHEAD * ROWS ? last - at : AHEAD * ROWS;
        const Py_ssize_t blocks = (left + ROWS - 1) / ROWS;
        for (Py_ssize_t r = 0; r < blocks * ROWS; r++) {
            const Py_ssize_t row = at + (r < left ? r : left - 1);
            job->fractions[r] = fraction_of(job, row);
            if (job->as_bytes)
                place_bytes(job, row,
                            job->byte_rows + r / ROWS * job->byte_pieces * ROWS * PIECE +
                                r % ROWS * PIECE);
            else
                place_floats(job, row,
                             job->rows + r / ROWS * job->float_pieces * ROWS * 4 + r % ROWS * 4);
        }
        for (Py_ssize_t lane = 0; lane < job->lanes;) {
            const int is_wide = lane < job->wide;
            if (job->as_bytes)
                (is_wide ? level->byte16 : level->byte8)(
                    job->rounded + lane * PIECE * job->byte_pieces, job->byte_rows, job->fractions,
                    job->from + lane, job->byte_pieces, blocks, (int32_t)at, best + lane,
                    arg + lane);
            else
                (is_wide ? level->float16 : level->float8)(
                    job->columns + lane * 4 * job->float_pieces, job->rows, job->float_pieces,
                    blocks, (int32_t)at, best + lane, arg + lane);
            lane += is_wide ? 16 : 8;
        }
    }
    for (Py_ssize_t lane = 0; lane < job->lanes; lane++) {
        if (arg[lane] >= last) arg[lane] = (int32_t)last - 1;
        if (job->as_bytes)
            best[lane] = job->steps[lane] * (best[lane] - job->offsets[lane]);
    }
}

/* The first of the `width` blocks whose patches score best together. best is [blocks][lanes] */
static Py_ssize_t best_window(const Job *job, const float *best, Py_ssize_t blocks,
                              Py_ssize_t width, const float *weights) {
    Py_ssize_t chosen = 0;
    float most = -INFINITY;
    for (Py_ssize_t from = 0; from + width <= blocks; from++) {
        float sum = 0;
        for (Py_ssize_t t = 0; t < job->tokens; t++) {
            float top = best[from * job->lanes + t];
            for (Py_ssize_t b = from + 1; b < from + width; b++) {
                const float here = best[b * job->lanes + t];
                top = here > top ? here : top;
            }
            sum += weights[t] * top;
        }
        if (sum > most) {
            most = sum;
            chosen = from;
        }
    }
    return chosen;
}

/* out[i] = the page's best window of `width` blocks of `stride` patches; a stride of 0 means the
 * whole page. -inf for an empty page. best and arg are [most blocks of a page][lanes]. */
static void score_pages(const Job *job, const int64_t *starts, Py_ssize_t pages,
                        const float *weights, Py_ssize_t stride, Py_ssize_t width, float *best,
                        int32_t *arg, float *out) {
    for (Py_ssize_t i = 0; i < pages; i++) {
        const Py_ssize_t first = (Py_ssize_t)starts[i], last = (Py_ssize_t)starts[i + 1];
        if (first == last) {
            out[i] = -INFINITY;
            continue;
        }
        const Py_ssize_t step = stride ? stride : last - first;
        const Py_ssize_t blocks = (last - first + step - 1) / step;
        for (Py_ssize_t b = 0; b < blocks; b++) {
            const Py_ssize_t end = first + (b + 1) * step;
            best_patches(job, first + b * step, end < last ? end : last, best + b * job->lanes,
                         arg + b * job->lanes);
        }
        const Py_ssize_t within = width < blocks ? width : blocks;
        const Py_ssize_t from = best_window(job, best, blocks, within, weights);
        double sum = 0;
        for (Py_ssize_t t = 0; t < job->tokens; t++) {
            Py_ssize_t top = from * job->lanes + t;
            for (Py_ssize_t b = from + 1; b < from + within; b++)
                if (best[b * job->lanes + t] > best[top]) top = b * job->lanes + t;
            float similarity = best[top];
            if (job->as_bytes && job->kind == KIND_BITS) {
                similarity = job->level->dot_signs(job->query + t * job->dim,
                                                   job->codes + arg[top] * job->row_bytes, job->dim);
            } else if (job->as_bytes) {
                read_floats(job, arg[top], job->one);
                similarity = job->level->dot(job->query + t * job->dim, job->one, job->dim);
            }
            sum += (double)weights[t] * similarity;
        }
        out[i] = (float)sum;
    }
}

static void pack_query(Job *job) {
    const float limit = job->kind == KIND_BITS ? 127.0f : (float)job->level->query_limit;
    for (Py_ssize_t t = 0; t < job->tokens; t++) {
        const float *token = job->query + t * job->dim;
        const Py_ssize_t width = t < job->wide ? 16 : 8, group = t / width * width;
        float peak = 0;
        for (Py_ssize_t j = 0; j < job->dim; j++) peak = fmaxf(peak, fabsf(token[j]));
        const float step = job->as_bytes && peak > 0 ? peak / limit : 1.0f;
        int64_t sum = 0;
        for (Py_ssize_t j = 0; j < job->dim; j++) {
            if (!job->as_bytes) {
                job->columns[group * 4 * job->float_pieces + j * width + (t - group)] = token[j];
                continue;
            }
            const int value = (int)fmaxf(-limit, fminf(limit, rintf(token[j] / step)));
            sum += value;
            job->rounded[group * PIECE * job->byte_pieces + (j / 4 * width + t - group) * 4 + j % 4] =
                (int8_t)value;
        }
        /* bits are 2 b - 1, signed codes c - 128: both from sums over unsigned ones */
        job->steps[t] = job->kind == KIND_BITS ? 2 * step : step;
        job->offsets[t] = job->kind == KIND_BITS ? 0.5f * (float)sum : 0.0f;
        if (job->kind == KIND_INT8 || job->kind == KIND_SCALED)
            job->from[t] = (int32_t)(-128 * sum);
    }
}

static const int ITEM_BYTES[] = {1, 1, 2, 4, 1, 1};

static int fits(const Py_buffer *query, const Py_buffer *weights, const Py_buffer *codes, int kind,
                const Py_buffer *starts, const Py_buffer *out) {
    if (kind < KIND_INT8 || kind > KIND_SCALED || query->ndim != 2 || query->itemsize != 4 ||
        codes->ndim != 2 || codes->itemsize != ITEM_BYTES[kind] || weights->ndim != 1 ||
        weights->itemsize != 4 || weights->shape[0] != query->shape[0] || starts->ndim != 1 ||
        starts->itemsize != 8 || out->ndim != 1 || out->itemsize != 4 ||
        starts->shape[0] != out->shape[0] + 1)
        return 0;
    const Py_ssize_t dim = query->shape[1];
    if (codes->shape[1] != (kind == KIND_BITS     ? (dim + 7) / 8
                            : kind == KIND_SCALED ? dim + FRACTION_BYTES
                                                  : dim))
        return 0;
    const int64_t *at = starts->buf;
    const Py_ssize_t pages = out->shape[0];
    if (at[0] < 0 || at[pages] > codes->shape[0] || codes->shape[0] > INT32_MAX - ROWS) return 0;
    for (Py_ssize_t i = 0; i < pages; i++)
        if (at[i] > at[i + 1]) return 0;
    return 1;
}

static PyObject *run(const Level *level, const Py_buffer *query, const Py_buffer *weights,
                     const Py_buffer *codes, int kind, const Py_buffer *starts, Py_ssize_t stride,
                     Py_ssize_t width, const Py_buffer *out) {
    Job job = {.level = level, .kind = kind, .codes = codes->buf, .query = query->buf};
    job.tokens = query->shape[0];
    job.dim = query->shape[1];
    job.float_pieces = (job.dim + 3) / 4;
    job.byte_pieces = (job.dim + PIECE - 1) / PIECE;
    job.row_bytes = codes->shape[1] * codes->itemsize;
    job.as_bytes = level->byte8 != NULL && kind != KIND_FLOAT16 && kind != KIND_FLOAT32;
    /* 9 to 15 left over fill a wide register better than two narrow ones */
    job.wide = level->float16 ? (job.tokens + 7) / 16 * 16 : 0;
    job.lanes = job.wide + (job.tokens > job.wide ? (job.tokens - job.wide + 7) / 8 * 8 : 0);
    const int64_t *at = starts->buf;
    int64_t longest = 0;
    for (Py_ssize_t i = 0; i < out->shape[0]; i++)
        if (at[i + 1] - at[i] > longest) longest = at[i + 1] - at[i];
    const size_t blocks = stride ? (size_t)(longest / stride + 1) : 1;
    const size_t lanes = (size_t)job.lanes, ahead = AHEAD * ROWS;
    const size_t floats = 4 * (size_t)job.float_pieces, bytes = PIECE * (size_t)job.byte_pieces;
    job.columns = PyMem_RawCalloc(job.as_bytes ? 1 : lanes * floats + 1, sizeof *job.columns);
    job.rounded = PyMem_RawCalloc(job.as_bytes ? lanes * bytes + 1 : 1, 1);
    job.steps = PyMem_RawCalloc(lanes + 1, sizeof *job.steps);
    job.offsets = PyMem_RawCalloc(lanes + 1, sizeof *job.offsets);
    job.one = PyMem_RawCalloc(floats + 1, sizeof *job.one);
    job.rows = PyMem_RawCalloc(job.as_bytes ? 1 : ahead * floats + 1, sizeof *job.rows);
    job.byte_rows = PyMem_RawCalloc(job.as_bytes ? ahead * bytes + 1 : 1, 1);
    job.from = PyMem_RawCalloc(lanes + 1, sizeof *job.from);
    job.fractions = PyMem_RawCalloc(ahead, sizeof *job.fractions);
    float *best = PyMem_RawCalloc(blocks * lanes + 1, sizeof *best);
    int32_t *arg = PyMem_RawCalloc(blocks * lanes + 1, sizeof *arg);
    PyObject *result = NULL;
    if (job.columns && job.rounded && job.steps && job.offsets && job.one && job.rows && job.byte_rows &&
        job.from && job.fractions && best && arg) {
        Py_BEGIN_ALLOW_THREADS
        pack_query(&job);
        score_pages(&job, at, out->shape[0], weights->buf, stride, width, best, arg, out->buf);
        Py_END_ALLOW_THREADS
        result = Py_NewRef(Py_None);
    } else {
        PyErr_NoMemory();
    }
    PyMem_RawFree(job.columns);
    PyMem_RawFree(job.rounded);
    PyMem_RawFree(job.steps);
    PyMem_RawFree(job.offsets);
    PyMem_RawFree(job.one);
    PyMem_RawFree(job.rows);
    PyMem_RawFree(job.byte_rows);
    PyMem_RawFree(job.from);
    PyMem_RawFree(job.fractions);
    PyMem_RawFree(best);
    PyMem_RawFree(arg);
    return result;
}

static PyObject *score(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *objects[5];
    const char *name;
    int kind;
    Py_ssize_t stride, width;
    if (!PyArg_ParseTuple(args, "sOOOiOnnO", &name, &objects[0], &objects[1], &objects[2], &kind,
                          &objects[3], &stride, &width, &objects[4]))
        return NULL;
    const Level *level = NULL;
    for (int i = 0; i < N_LEVELS; i++)
        if (!strcmp(LEVELS[i].name, name) && is_supported(&LEVELS[i])) level = &LEVELS[i];
    if (level == NULL || stride < 0 || width < 1) {
        PyErr_SetString(PyExc_ValueError, "unknown level, or a window without patches");
        return NULL;
    }
    Py_buffer buffers[5];
    PyObject *result = NULL;
    int held = 0;
    for (; held < 5; held++) {
        const int flags = PyBUF_C_CONTIGUOUS | (held == 4 ? PyBUF_WRITABLE : 0);
        if (PyObject_GetBuffer(objects[held], &buffers[held], flags) < 0) goto done;
    }
    if (fits(&buffers[0], &buffers[1], &buffers[2], kind, &buffers[3], &buffers[4]))
        result = run(level, &buffers[0], &buffers[1], &buffers[2], kind, &buffers[3], stride,
                     width, &buffers[4]);
    else
        PyErr_SetString(PyExc_ValueError, "arrays do not fit together");
done:
    while (held > 0) PyBuffer_Release(&buffers[--held]);
    return result;
}

static PyMethodDef methods[] = {
    {"score", score, METH_VARARGS,
     "score(level, query [q,d] float32, weights [q] float32, codes [N,w], kind, starts [k+1] "
     "int64, stride, width, out [k] float32): write the pages' scores into out."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_maxsim", "Late-interaction scores over stored patches.", -1, methods,
    NULL, NULL, NULL, NULL,
};

/* LEVELS names what this processor can do, best first; KINDS counts the kinds of codes. */
PyMODINIT_FUNC PyInit__maxsim(void) {
    for (int value = 0; value < 256; value++)
        for (int bit = 0; bit < 8; bit++)
            ((uint8_t *)&SPREAD[value])[bit] = (uint8_t)((value >> bit) & 1);
    PyObject *module = PyModule_Create(&definition);
    PyObject *names = PyList_New(0);
    if (module == NULL || names == NULL) goto failed;
    for (int i = 0; i < N_LEVELS; i++) {
        if (!is_supported(&LEVELS[i])) continue;
        PyObject *name = PyUnicode_FromString(LEVELS[i].name);
        if (name == NULL || PyList_Append(names, name) < 0) {
            Py_XDECREF(name);
            goto failed;
        }
        Py_DECREF(name);
    }
    if (PyModule_AddObjectRef(module, "LEVELS", names) < 0 ||
        PyModule_AddIntConstant(module, "KINDS", KIND_SCALED + 1) < 0)
        goto failed;
    Py_DECREF(names);
    return module;
failed:
    Py_XDECREF(module);
    Py_XDECREF(names);
    return NULL;
}

#else

PyMODINIT_FUNC PyInit__maxsim(void) {
    PyErr_SetString(PyExc_ImportError, "this compiler has no vector types; numpy does the work");
    return NULL;
}

#endif
