/* What the kernels share: vectors of the processor's width, leaky, and a small product of matrices.

   Pictures are channels last, float32 or bfloat16, which is the upper half of a float. Weights come in columns of COLUMN
   output channels. */

#include <omp.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__AVX512F__)
#define LANES 16
#define ROWS 14 /* rows of a product that are kept in registers */
#elif defined(__AVX2__)
#define LANES 8
#define ROWS 6
#else
#define LANES 4
#define ROWS 6
#endif
#define COLUMN (2 * LANES)

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef float loose __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int mask __attribute__((vector_size(4 * LANES)));
typedef uint16_t upper __attribute__((vector_size(2 * LANES), aligned(2)));
typedef uint32_t whole __attribute__((vector_size(4 * LANES)));
typedef ptrdiff_t size;

typedef struct {
    size n, h, w, c, k;            /* pictures, height, width, channels in and out */
    size pool;                     /* 1: the largest of each 2 x 2 outputs is all that is written */
    size threads;
    size brief;                    /* 1: pictures are bfloat16, but for the input of narrow.c */
    size packed, half;             /* what the weights of winograd.c are; the rest is for it too */
    size superblock, block, group; /* tiles transformed at a time, of these multiplied at a time, by so many columns */
    float slope, from_slope;       /* of leaky below zero: after the bias, and after `from` is added */
} Job;

typedef struct {
    const void *at;
    size bytes;
} Buffer; /* an argument that is read or written, and how much memory there is from there on */

enum { DONE, MISFIT }; /* what a kernel returns: for buffers or sizes that do not fit it reads and writes nothing */

/* Sizes are at least 0; one that is less, or too large for the type, makes all that is computed of it -1. */
static inline size product(size a, size b) {
    size c;
    return a < 0 || b < 0 || __builtin_mul_overflow(a, b, &c) ? -1 : c;
}

static inline size sum(size a, size b) {
    size c;
    return a < 0 || b < 0 || __builtin_add_overflow(a, b, &c) ? -1 : c;
}

static inline size volume(size n, size h, size w, size c) { return product(product(n, h), product(w, c)); }
static inline int holds(Buffer buffer, size bytes) { return bytes >= 0 && buffer.at && buffer.bytes >= bytes; }
static inline int is_switch(size value) { return value == 0 || value == 1; }

#define MOST_THREADS 65536

/* Whether the sizes that all convolutions have are sizes */
static inline int is_job(const Job *job) {
    return job->n > 0 && job->h > 0 && job->w > 0 && job->c > 0 && job->k > 0 && job->k % LANES == 0 && is_switch(job->pool) &&
           is_switch(job->brief) && job->threads > 0 && job->threads <= MOST_THREADS &&
           volume(job->n, sum(job->h, 2), sum(job->w, 2), product(sum(job->c, job->k), 9 * 4)) >= 0;
}

/* Bytes of the output, or of what is added to it */
static inline size output_bytes(const Job *job) {
    size shrink = job->pool + 1;
    return product(volume(job->n, (job->h + job->pool) / shrink, (job->w + job->pool) / shrink, job->k), job->brief ? 2 : 4);
}

static inline vec load(const float *p) { return *(const loose *)p; }
static inline void store(float *p, vec v) { *(loose *)p = v; }
static inline vec splat(float x) { return x - (vec){0}; }
static inline size least(size a, size b) { return a < b ? a : b; }
static inline vec choose(mask which, vec a, vec b) { return (vec)((which & (mask)a) | (~which & (mask)b)); }
static inline vec leaky(vec x, float slope) { return choose(x > 0, x, x * slope); }
static inline vec greater(vec a, vec b) { return choose(a > b, a, b); }

/* Values of a picture, or of weights, from `place` on; those that are `brief` have two bytes each. */
static inline vec load_at(const void *from, size place, const int brief) {
    if (!brief) return load((const float *)from + place);
    upper v = *(const upper *)((const uint16_t *)from + place);
    return (vec)(__builtin_convertvector(v, whole) << 16);
}

static inline void store_at(void *to, size place, vec v, const int brief) {
    if (!brief) {
        store((float *)to + place, v);
        return;
    }
    whole bits = (whole)v;
    bits += 0x7fff + (bits >> 16 & 1); /* to the nearest, of two to the even one */
    *(upper *)((uint16_t *)to + place) = __builtin_convertvector(bits >> 16, upper);
}

/* R rows of `a`, `step` apart, by (parts * channels, COLUMN) -> sums (R, COLUMN), or added to them. The parts of a row
   are `jump` apart. */
static inline __attribute__((always_inline)) void multiply_rows(
    const size R, const float *a, const size step, const size parts, size jump, const float *b, size channels,
    float *sums, int add
) {
    vec sum[ROWS][2];
#pragma GCC unroll 14
    for (size r = 0; r < R; r++) sum[r][0] = sum[r][1] = (vec){0};
    for (size part = 0; part < parts; part++, a += jump)
        for (size c = 0; c < channels; c++, b += COLUMN) {
            vec left = load(b), right = load(b + LANES);
#pragma GCC unroll 14
            for (size r = 0; r < R; r++) {
                vec x = splat(a[r * step + c]);
                sum[r][0] += x * left;
                sum[r][1] += x * right;
            }
        }
#pragma GCC unroll 14
    for (size r = 0; r < R; r++, sums += COLUMN) {
        store(sums, add ? load(sums) + sum[r][0] : sum[r][0]);
        store(sums + LANES, add ? load(sums + LANES) + sum[r][1] : sum[r][1]);
    }
}

/* The same for any number of rows, in parts of about equal size */
static inline __attribute__((always_inline)) void multiply(
    size rows, const float *a, const size step, const size parts, size jump, const float *b, size channels, float *sums,
    int add
) {
    for (size left = (rows + ROWS - 1) / ROWS; left; left--) {
        size some = (rows + left - 1) / left;
        switch (some) {
#define CASE(R) case R: multiply_rows(R, a, step, parts, jump, b, channels, sums, add); break;
#if ROWS > 6
            CASE(14) CASE(13) CASE(12) CASE(11) CASE(10) CASE(9) CASE(8) CASE(7)
#endif
            CASE(6) CASE(5) CASE(4) CASE(3) CASE(2) CASE(1)
#undef CASE
        }
        a += some * step, sums += some * COLUMN, rows -= some;
    }
}
