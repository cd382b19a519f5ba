/* Late-interaction scores over 8-bit codes: retrieval/maxsim.py says what and why.
 *
 * Codes are widened to 16 bits and multiplied with a 16-bit query in pairs (madd), summed in
 * 32 bits; the caller has rounded the query so that no sum can overflow. Compared with the
 * 8 x 7-bit instruction this costs little and leaves no error to speak of.
 *
 * Layout: the query is packed in groups of 8 tokens, so that one vector register holds the
 * sums of 8 tokens and a patch's components are broadcast to all of them. The maximum over
 * patches is then one instruction a group, without any sum across a register.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define LANES 8 /* query tokens in a group */
#define ROWS 4  /* patches at a time */

typedef struct {
    const int16_t *query; /* [groups][pairs][LANES][2] */
    Py_ssize_t groups;
    Py_ssize_t pairs; /* half the dimension, rounded up */
    Py_ssize_t dim;
    const uint8_t *codes; /* [n][dim] */
    uint8_t flip;         /* 0x80 turns unsigned codes into signed ones, less 128 */
    int16_t *widened;     /* [ROWS][2 * pairs], last one zero if dim is odd */
} Job;

/* The patch of a block, the last one again where the page has ended: a repeated patch does not
 * change a maximum, a patch of zeros would. */
static const uint8_t *patch(const Job *job, Py_ssize_t at, Py_ssize_t last) {
    return job->codes + (at < last ? at : last - 1) * job->dim;
}

__attribute__((target("avx2"))) static void widen(const Job *job, const uint8_t *row,
                                                  int16_t *out) {
    const __m128i flip = _mm_set1_epi8((char)job->flip);
    Py_ssize_t j = 0;
    for (; j + 16 <= job->dim; j += 16) {
        const __m128i codes = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(row + j)), flip);
        _mm256_storeu_si256((__m256i *)(out + j), _mm256_cvtepi8_epi16(codes));
    }
    for (; j < job->dim; j++) out[j] = (int8_t)(row[j] ^ job->flip);
}

__attribute__((target("avx2"))) static inline __m256i pair(const int16_t *at) {
    int32_t both;
    memcpy(&both, at, sizeof both);
    return _mm256_set1_epi32(both);
}

__attribute__((target("avx2"))) static inline __m256i top(__m256i a, __m256i b, __m256i c,
                                                          __m256i d) {
    return _mm256_max_epi32(_mm256_max_epi32(a, b), _mm256_max_epi32(c, d));
}

/* best[groups * LANES] = maximum over patches first..last-1 of the integer similarities */
__attribute__((target("avx2"))) static void page_best(const Job *job, Py_ssize_t first,
                                                      Py_ssize_t last, int32_t *best) {
    const Py_ssize_t pairs = job->pairs, width = 2 * pairs;
    const int16_t *w0 = job->widened, *w1 = w0 + width, *w2 = w1 + width, *w3 = w2 + width;
    for (Py_ssize_t i = 0; i < job->groups * LANES; i++) best[i] = INT32_MIN;
    for (Py_ssize_t at = first; at < last; at += ROWS) {
        for (int r = 0; r < ROWS; r++)
            widen(job, patch(job, at + r, last), job->widened + r * width);
        Py_ssize_t g = 0;
        for (; g + 2 <= job->groups; g += 2) {
            const __m256i *qa = (const __m256i *)(job->query + g * pairs * LANES * 2);
            const __m256i *qb = qa + pairs;
            __m256i a0 = _mm256_setzero_si256(), a1 = a0, a2 = a0, a3 = a0;
            __m256i b0 = a0, b1 = a0, b2 = a0, b3 = a0;
            for (Py_ssize_t p = 0; p < pairs; p++) {
                const __m256i a = _mm256_loadu_si256(qa + p), b = _mm256_loadu_si256(qb + p);
                __m256i row = pair(w0 + 2 * p);
                a0 = _mm256_add_epi32(a0, _mm256_madd_epi16(a, row));
                b0 = _mm256_add_epi32(b0, _mm256_madd_epi16(b, row));
                row = pair(w1 + 2 * p);
                a1 = _mm256_add_epi32(a1, _mm256_madd_epi16(a, row));
                b1 = _mm256_add_epi32(b1, _mm256_madd_epi16(b, row));
                row = pair(w2 + 2 * p);
                a2 = _mm256_add_epi32(a2, _mm256_madd_epi16(a, row));
                b2 = _mm256_add_epi32(b2, _mm256_madd_epi16(b, row));
                row = pair(w3 + 2 * p);
                a3 = _mm256_add_epi32(a3, _mm256_madd_epi16(a, row));
                b3 = _mm256_add_epi32(b3, _mm256_madd_epi16(b, row));
            }
            __m256i *held = (__m256i *)(best + g * LANES);
            _mm256_storeu_si256(
                held, _mm256_max_epi32(_mm256_loadu_si256(held), top(a0, a1, a2, a3)));
            _mm256_storeu_si256(
                held + 1, _mm256_max_epi32(_mm256_loadu_si256(held + 1), top(b0, b1, b2, b3)));
        }
        if (g < job->groups) {
            const __m256i *qa = (const __m256i *)(job->query + g * pairs * LANES * 2);
            __m256i a0 = _mm256_setzero_si256(), a1 = a0, a2 = a0, a3 = a0;
            for (Py_ssize_t p = 0; p < pairs; p++) {
                const __m256i a = _mm256_loadu_si256(qa + p);
                a0 = _mm256_add_epi32(a0, _mm256_madd_epi16(a, pair(w0 + 2 * p)));
                a1 = _mm256_add_epi32(a1, _mm256_madd_epi16(a, pair(w1 + 2 * p)));
                a2 = _mm256_add_epi32(a2, _mm256_madd_epi16(a, pair(w2 + 2 * p)));
                a3 = _mm256_add_epi32(a3, _mm256_madd_epi16(a, pair(w3 + 2 * p)));
            }
            __m256i *held = (__m256i *)(best + g * LANES);
            _mm256_storeu_si256(
                held, _mm256_max_epi32(_mm256_loadu_si256(held), top(a0, a1, a2, a3)));
        }
    }
}
/* out[i] = sum over tokens of weights * (best similarity + offset); -inf for an empty page */
static void score_pages(const Job *job, const int64_t *starts, Py_ssize_t pages,
                        const float *weights, const float *offsets, Py_ssize_t tokens,
                        int32_t *best, float *out) {
    for (Py_ssize_t i = 0; i < pages; i++) {
        if (starts[i] == starts[i + 1]) {
            out[i] = -INFINITY;
            continue;
        }
        page_best(job, (Py_ssize_t)starts[i], (Py_ssize_t)starts[i + 1], best);
        double sum = 0;
        for (Py_ssize_t t = 0; t < tokens; t++)
            sum += (double)weights[t] * ((double)best[t] + (double)offsets[t]);
        out[i] = (float)sum;
    }
}

static int fits(const Py_buffer *query, const Py_buffer *weights, const Py_buffer *codes,
                const Py_buffer *starts, const Py_buffer *out) {
    if (query->ndim != 2 || query->itemsize != 2 || codes->ndim != 2 || codes->itemsize != 1 ||
        query->shape[1] != codes->shape[1] || weights->ndim != 1 || weights->itemsize != 4 ||
        weights->shape[0] != query->shape[0] || starts->ndim != 1 || starts->itemsize != 8 ||
        out->ndim != 1 || out->itemsize != 4 || starts->shape[0] != out->shape[0] + 1)
        return 0;
    const int64_t *at = starts->buf;
    const Py_ssize_t pages = out->shape[0];
    if (at[0] < 0 || at[pages] > codes->shape[0]) return 0;
    for (Py_ssize_t i = 0; i < pages; i++)
        if (at[i] > at[i + 1]) return 0;
    return 1;
}

static PyObject *run(const Py_buffer *query, const Py_buffer *weights, const Py_buffer *codes,
                     int is_signed, const Py_buffer *starts, const Py_buffer *out) {
    const Py_ssize_t tokens = query->shape[0], dim = query->shape[1];
    const Py_ssize_t groups = (tokens + LANES - 1) / LANES, pairs = (dim + 1) / 2;
    const size_t packed_size = (size_t)groups * pairs * LANES * 2;
    int16_t *packed = PyMem_RawCalloc(packed_size + 1, sizeof *packed);
    int16_t *widened = PyMem_RawCalloc((size_t)ROWS * pairs * 2 + 1, sizeof *widened);
    int32_t *best = PyMem_RawCalloc((size_t)groups * LANES + 1, sizeof *best);
    float *offsets = PyMem_RawCalloc((size_t)tokens + 1, sizeof *offsets);
    PyObject *result = NULL;
    if (packed && widened && best && offsets) {
        Py_BEGIN_ALLOW_THREADS
        const int16_t *rows = query->buf;
        for (Py_ssize_t t = 0; t < tokens; t++) {
            int64_t sum = 0;
            for (Py_ssize_t j = 0; j < dim; j++) {
                const int16_t value = rows[t * dim + j];
                sum += value;
                packed[(((t / LANES) * pairs + j / 2) * LANES + t % LANES) * 2 + j % 2] = value;
            }
            /* unsigned codes are scored less 128: give every component its 128 back */
            offsets[t] = is_signed ? 0.0f : (float)(128 * sum);
        }
        const Job job = {packed, groups, pairs, dim, codes->buf, is_signed ? 0 : 0x80, widened};
        score_pages(&job, starts->buf, out->shape[0], weights->buf, offsets, tokens, best,
                    out->buf);
        Py_END_ALLOW_THREADS
        result = Py_NewRef(Py_None);
    } else {
        PyErr_NoMemory();
    }
    PyMem_RawFree(packed);
    PyMem_RawFree(widened);
    PyMem_RawFree(best);
    PyMem_RawFree(offsets);
    return result;
}

static PyObject *maxsim(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *objects[5];
    int is_signed;
    if (!PyArg_ParseTuple(args, "OOOpOO", &objects[0], &objects[1], &objects[2], &is_signed,
                          &objects[3], &objects[4]))
        return NULL;
    Py_buffer buffers[5];
    PyObject *result = NULL;
    int held = 0;
    for (; held < 5; held++) {
        const int flags = PyBUF_C_CONTIGUOUS | (held == 4 ? PyBUF_WRITABLE : 0);
        if (PyObject_GetBuffer(objects[held], &buffers[held], flags) < 0) goto done;
    }
    if (fits(&buffers[0], &buffers[1], &buffers[2], &buffers[3], &buffers[4]))
        result = run(&buffers[0], &buffers[1], &buffers[2], is_signed, &buffers[3], &buffers[4]);
    else
        PyErr_SetString(PyExc_ValueError, "arrays do not fit together");
done:
    while (held > 0) PyBuffer_Release(&buffers[--held]);
    return result;
}

static PyMethodDef methods[] = {
    {"maxsim", maxsim, METH_VARARGS,
     "maxsim(query [q,d] int16, weights [q] float32, codes [N,d] int8 or uint8, is_signed, "
     "starts [k+1] int64, out [k] float32): write the pages' scores into out."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_maxsim", "Late-interaction scores over 8-bit codes.", 0, methods,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__maxsim(void) {
    if (__builtin_cpu_supports("avx2")) return PyModule_Create(&definition);
    PyErr_SetString(PyExc_ImportError, "this processor has no AVX2; numpy is as good");
    return NULL;
}

#else /* numpy is faster than anything plain C can do: retrieval/maxsim.py falls back to it */

PyMODINIT_FUNC PyInit__maxsim(void) {
    PyErr_SetString(PyExc_ImportError, "this build has no kernel for this processor");
    return NULL;
}

#endif
