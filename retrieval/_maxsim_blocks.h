/* The innermost loops of retrieval/_maxsim.c: for a run of patches, the largest similarity to
 * each query token, and which patch has it.
 *
 * Layout: tokens lie in the lanes of a register, 16 or 8 of them, and a patch's components are
 * broadcast to all of them. The maximum over patches is then one instruction a register, with
 * no sum across it, and eight patches at a time hide the latency of the additions. Of eight
 * patches 16 bytes each lie side by side, so that their addresses are one and constants.
 *
 * Two kinds of loop. FLOAT_LOOP multiplies floats; compilers turn its vectors into whatever
 * the target has, so the same text serves AVX-512, AVX2, SSE and NEON. BYTE_LOOP multiplies
 * unsigned bytes with a query rounded to 8 (or 7) bits, at two to four times the speed; its
 * sums only choose patches, and _maxsim.c scores the chosen ones exactly.
 */
#include <stdint.h>
#include <string.h>

#define ROWS 8   /* patches at a time */
#define PIECE 16 /* bytes of one patch that lie together */

typedef uint8_t u16 __attribute__((vector_size(PIECE)));
typedef float f8 __attribute__((vector_size(32)));
typedef float f16 __attribute__((vector_size(64)));

/* query [pieces][4][W], rows [blocks][pieces][ROWS][4]; best and arg [W] are raised by the rows,
 * of which the first is patch `at`. R of them at a time are as many as fit into registers. */
#define FLOAT_LOOP(NAME, TARGET, VECTOR, W, R)                                                 \
    TARGET static void NAME(const float *query, const float *rows, Py_ssize_t pieces,          \
                            Py_ssize_t blocks, int32_t at, float *best, int32_t *arg) {        \
        for (Py_ssize_t part = 0; part < blocks * ROWS / R; part++, at += R) {                 \
            const float *first = rows + part * R / ROWS * pieces * ROWS * 4 + part * R % ROWS * 4; \
            VECTOR sum[R];                                                                     \
            _Pragma("GCC unroll 8") for (int r = 0; r < R; r++) sum[r] = (VECTOR){0};          \
            for (Py_ssize_t p = 0; p < pieces; p++)                                            \
                _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++) {                          \
                    VECTOR q;                                                                  \
                    memcpy(&q, query + (p * 4 + j) * W, sizeof q);                             \
                    _Pragma("GCC unroll 8") for (int r = 0; r < R; r++)                        \
                        sum[r] += q * first[(p * ROWS + r) * 4 + j];                           \
                }                                                                              \
            for (int r = 0; r < R; r++) {                                                      \
                float found[W];                                                                \
                memcpy(found, &sum[r], sizeof found);                                          \
                for (int lane = 0; lane < W; lane++) {                                         \
                    const int more = found[lane] > best[lane];                                 \
                    best[lane] = more ? found[lane] : best[lane];                              \
                    arg[lane] = more ? at + r : arg[lane];                                     \
                }                                                                              \
            }                                                                                  \
        }                                                                                      \
    }

FLOAT_LOOP(float8_plain, , f8, 8, 4)

/* The product of a token and a patch, in partial sums so that it need not wait for itself. */
static float dot_plain(const float *a, const float *b, Py_ssize_t dim) {
    f8 even = {0}, odd = {0};
    Py_ssize_t j = 0;
    for (; j + 16 <= dim; j += 16) {
        f8 x, y;
        memcpy(&x, a + j, sizeof x);
        memcpy(&y, b + j, sizeof y);
        even += x * y;
        memcpy(&x, a + j + 8, sizeof x);
        memcpy(&y, b + j + 8, sizeof y);
        odd += x * y;
    }
    even += odd;
    float sum = 0;
    for (int lane = 0; lane < 8; lane++) sum += even[lane];
    for (; j < dim; j++) sum += a[j] * b[j];
    return sum;
}

/* A patch's stored components as numbers; `kind` is one of the KIND_ constants of _maxsim.c. */
static void widen_half_plain(const uint16_t *half, float *out, Py_ssize_t dim) {
    for (Py_ssize_t j = 0; j < dim; j++) {
        /* exponent and fraction moved into float32's places, then 2^112 makes up for its bias:
         * right for zeros and subnormals too; patches are finite */
        const uint32_t bits = ((uint32_t)half[j] & 0x7fffu) << 13;
        const uint32_t sign = ((uint32_t)half[j] & 0x8000u) << 16;
        float value;
        memcpy(&value, &bits, sizeof value);
        value *= 0x1p112f;
        uint32_t all;
        memcpy(&all, &value, sizeof all);
        all |= sign;
        memcpy(out + j, &all, sizeof all);
    }
}

static inline __attribute__((always_inline)) void widen_bytes(const uint8_t *codes, int is_signed,
                                                              float *out, Py_ssize_t dim) {
    if (is_signed)
        for (Py_ssize_t j = 0; j < dim; j++) out[j] = (float)((const int8_t *)codes)[j];
    else
        for (Py_ssize_t j = 0; j < dim; j++) out[j] = (float)codes[j];
}

static void widen_bytes_plain(const uint8_t *codes, int is_signed, float *out, Py_ssize_t dim) {
    widen_bytes(codes, is_signed, out, dim);
}

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")))

FLOAT_LOOP(float8_avx2, AVX2, f8, 8, ROWS)
FLOAT_LOOP(float8_avx512, AVX512, f8, 8, ROWS)
FLOAT_LOOP(float16_avx512, AVX512, f16, 16, ROWS)

/* As dot_plain, of which gcc makes a detour over the stack that costs more than the product. */
AVX2 static float dot_avx2(const float *a, const float *b, Py_ssize_t dim) {
    __m256 even = _mm256_setzero_ps(), odd = _mm256_setzero_ps();
    Py_ssize_t j = 0;
    for (; j + 16 <= dim; j += 16) {
        even = _mm256_fmadd_ps(_mm256_loadu_ps(a + j), _mm256_loadu_ps(b + j), even);
        odd = _mm256_fmadd_ps(_mm256_loadu_ps(a + j + 8), _mm256_loadu_ps(b + j + 8), odd);
    }
    const __m256 eight = _mm256_add_ps(even, odd);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    float sum = _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
    for (; j < dim; j++) sum += a[j] * b[j];
    return sum;
}

AVX2 static void widen_half_avx2(const uint16_t *half, float *out, Py_ssize_t dim) {
    Py_ssize_t j = 0;
    for (; j + 8 <= dim; j += 8)
        _mm256_storeu_ps(out + j, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(half + j))));
    widen_half_plain(half + j, out + j, dim - j);
}

AVX2 static void widen_bytes_avx2(const uint8_t *codes, int is_signed, float *out, Py_ssize_t dim) {
    Py_ssize_t j = 0;
    for (; j + 8 <= dim; j += 8) {
        const __m128i eight = _mm_loadl_epi64((const __m128i *)(codes + j));
        const __m256i wide = is_signed ? _mm256_cvtepi8_epi32(eight) : _mm256_cvtepu8_epi32(eight);
        _mm256_storeu_ps(out + j, _mm256_cvtepi32_ps(wide));
    }
    widen_bytes(codes + j, is_signed, out + j, dim - j);
}

/* The product of a token and a patch of signs: bit j of `bits`, lowest first, is 1 for plus. */
AVX2 static float dot_signs_avx2(const float *query, const uint8_t *bits, Py_ssize_t dim) {
    const __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256 minus = _mm256_set1_ps(-0.0f);
    __m256 sum = _mm256_setzero_ps();
    Py_ssize_t j = 0;
    for (; j + 8 <= dim; j += 8) {
        const __m256i here = _mm256_and_si256(_mm256_set1_epi32(bits[j / 8]), each);
        const __m256 set = _mm256_castsi256_ps(_mm256_cmpeq_epi32(here, each));
        const __m256 sign = _mm256_andnot_ps(set, minus);
        sum = _mm256_add_ps(sum, _mm256_xor_ps(_mm256_loadu_ps(query + j), sign));
    }
    float eight[8], total = 0;
    _mm256_storeu_ps(eight, sum);
    for (int lane = 0; lane < 8; lane++) total += eight[lane];
    for (; j < dim; j++) total += bits[j / 8] >> (j % 8) & 1 ? query[j] : -query[j];
    return total;
}

AVX512 static float dot_signs_avx512(const float *query, const uint8_t *bits, Py_ssize_t dim) {
    __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
    Py_ssize_t j = 0;
    for (; j + 32 <= dim; j += 32) {
        uint32_t set;
        memcpy(&set, bits + j / 8, sizeof set);
        const __m512 first = _mm512_loadu_ps(query + j), second = _mm512_loadu_ps(query + j + 16);
        even = _mm512_mask_add_ps(_mm512_sub_ps(even, first), (__mmask16)set, even, first);
        odd = _mm512_mask_add_ps(_mm512_sub_ps(odd, second), (__mmask16)(set >> 16), odd, second);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(even, odd)) +
           dot_signs_avx2(query + j, bits + j / 8, dim - j);
}

/* Bits as bytes of 0 or 1, 16 of them a piece; see place_bytes for where they go. */
AVX2 static void spread_avx2(const uint8_t *bits, uint8_t *out, Py_ssize_t bytes) {
    const __m128i each = _mm_set1_epi64x((int64_t)0x8040201008040201ull);
    const __m128i whose = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    for (Py_ssize_t at = 0; at < bytes; at += 2, out += ROWS * PIECE) {
        const int16_t two = (int16_t)(at + 1 < bytes ? bits[at] | bits[at + 1] << 8 : bits[at]);
        const __m128i all = _mm_shuffle_epi8(_mm_set1_epi16(two), whose);
        const __m128i set = _mm_min_epu8(_mm_and_si128(all, each), _mm_set1_epi8(1));
        _mm_storeu_si128((__m128i *)out, set);
    }
}

static inline int32_t four(const uint8_t *at) {
    int32_t all;
    memcpy(&all, at, sizeof all);
    return all;
}

/* query [pieces][4][W][4] signed, rows [blocks][pieces][ROWS][PIECE] unsigned, fractions
 * [blocks][ROWS] what a patch's sum is multiplied by, from [W] what it begins with.
 * MULTIPLY(sum, codes, query) adds products of four, RAISE(best, arg, sum, fraction, patch) keeps
 * the larger of best and sum * fraction and whose it is. */
#define BYTE_LOOP(NAME, TARGET, REGISTER, FLOATS, W, LOAD, STORE, LOADF, STOREF, ALL, RAISE, MULTIPLY) \
    TARGET static void NAME(const int8_t *query, const uint8_t *rows, const float *fractions,    \
                            const int32_t *from, Py_ssize_t pieces, Py_ssize_t blocks,           \
                            int32_t at, float *best, int32_t *arg) {                             \
        FLOATS most = LOADF(best);                                                               \
        REGISTER whose = LOAD((const void *)arg);                                                \
        const REGISTER begin = LOAD((const void *)from);                                         \
        for (Py_ssize_t part = 0; part < blocks; part++, fractions += ROWS) {                    \
            REGISTER sum[ROWS];                                                                  \
            _Pragma("GCC unroll 8") for (int r = 0; r < ROWS; r++) sum[r] = begin;               \
            for (Py_ssize_t p = 0; p < pieces; p++, rows += ROWS * PIECE)                        \
                _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++) {                            \
                    const REGISTER q = LOAD((const void *)(query + (p * 4 + j) * 4 * W));        \
                    _Pragma("GCC unroll 8") for (int r = 0; r < ROWS; r++)                       \
                        sum[r] = MULTIPLY(sum[r], ALL(four(rows + r * PIECE + 4 * j)), q);       \
                }                                                                                \
            _Pragma("GCC unroll 8") for (int r = 0; r < ROWS; r++) {                             \
                RAISE(most, whose, sum[r], fractions[r], ALL(at));                               \
                at++;                                                                            \
            }                                                                                    \
        }                                                                                        \
        STOREF(best, most);                                                                      \
        STORE((void *)arg, whose);                                                               \
    }

#define RAISE_AVX2(most, whose, sum, fraction, patch)                                            \
    const __m256 here = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(fraction));        \
    const __m256 more = _mm256_cmp_ps(here, most, _CMP_GT_OQ);                                   \
    most = _mm256_max_ps(most, here);                                                            \
    whose = _mm256_blendv_epi8(whose, patch, _mm256_castps_si256(more))
#define RAISE_8(most, whose, sum, fraction, patch)                                               \
    const __m256 here = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(fraction));        \
    whose = _mm256_mask_mov_epi32(whose, _mm256_cmp_ps_mask(here, most, _CMP_GT_OQ), patch);     \
    most = _mm256_max_ps(most, here)
#define RAISE_16(most, whose, sum, fraction, patch)                                              \
    const __m512 here = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(fraction));        \
    whose = _mm512_mask_mov_epi32(whose, _mm512_cmp_ps_mask(here, most, _CMP_GT_OQ), patch);     \
    most = _mm512_max_ps(most, here)
/* The query has 7 bits here: two products of a full byte with 8 would not fit into 16. */
#define MADDUBS(sum, codes, q) \
    _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(codes, q), _mm256_set1_epi16(1)))

BYTE_LOOP(byte8_avx2, AVX2, __m256i, __m256, 8, _mm256_loadu_si256, _mm256_storeu_si256,
          _mm256_loadu_ps, _mm256_storeu_ps, _mm256_set1_epi32, RAISE_AVX2, MADDUBS)
BYTE_LOOP(byte8_avx512, AVX512, __m256i, __m256, 8, _mm256_loadu_si256, _mm256_storeu_si256,
          _mm256_loadu_ps, _mm256_storeu_ps, _mm256_set1_epi32, RAISE_8, _mm256_dpbusd_epi32)
BYTE_LOOP(byte16_avx512, AVX512, __m512i, __m512, 16, _mm512_loadu_si512, _mm512_storeu_si512,
          _mm512_loadu_ps, _mm512_storeu_ps, _mm512_set1_epi32, RAISE_16, _mm512_dpbusd_epi32)
#endif
