/* 3 x 3 convolution of stride 1 and padding 1 after Winograd, F(4 x 4, 3 x 3) of Lavin and Gray (arXiv 1509.09308).

   Pictures are float32, channels last. A tile is 6 x 6 input pixels that give 4 x 4 output pixels by 36 products
   instead of 144; tiles overlap by two pixels and what lies outside the picture is zero. Weights come in columns of
   COLUMN output channels: [column][c][3 * 3][COLUMN] as they are, transformed anew for every block of tiles, or
   `packed` as [column][36][c][COLUMN], which is four times as large and a little faster. */

#include <omp.h>
#include <stddef.h>

#if defined(__AVX512F__)
#define LANES 16
#define ROWS 12 /* tiles whose sums are kept in registers at a time */
#elif defined(__AVX2__)
#define LANES 8
#define ROWS 6
#else
#define LANES 4
#define ROWS 6
#endif
#define COLUMN (2 * LANES)
#define CHUNK 32 /* channels whose weights are transformed at a time */
#define PART 128 /* channels summed at a time where they are packed: longer sums lose digits */
#define TAPS 36

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef float loose __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int mask __attribute__((vector_size(4 * LANES)));
typedef ptrdiff_t size;

typedef struct {
    size n, h, w, c, k;     /* pictures, height, width, channels in and out */
    size superblock, block; /* tiles transformed at a time; of these, tiles multiplied at a time */
    size packed, threads;
    float slope, from_slope; /* of leaky below zero: after the bias, and after `from` is added */
} Job;

static inline vec load(const float *p) { return *(const loose *)p; }
static inline void store(float *p, vec v) { *(loose *)p = v; }
static inline vec splat(float x) { return x - (vec){0}; }
static inline size least(size a, size b) { return a < b ? a : b; }

static inline vec leaky(vec x, float slope) {
    mask above = x > 0;
    return (vec)((above & (mask)x) | (~above & (mask)(x * slope)));
}

/* The three transforms in one dimension. */
static inline void of_weights(vec a, vec b, vec c, vec *out) {
    vec odd = (a + c) * (-1.f / 6), even = b * (1.f / 6), far = a * (1.f / 24) + c * (1.f / 6), half = b * (1.f / 12);
    out[0] = a * .25f;
    out[1] = odd - even;
    out[2] = odd + even;
    out[3] = far + half;
    out[4] = far - half;
    out[5] = c;
}

static inline void of_input(const vec *d, vec *out) {
    vec a = d[4] - 4 * d[2], b = d[3] - 4 * d[1], c = d[4] - d[2], e = 2 * (d[3] - d[1]);
    out[0] = 4 * d[0] - 5 * d[2] + d[4];
    out[1] = a + b;
    out[2] = a - b;
    out[3] = c + e;
    out[4] = c - e;
    out[5] = 4 * d[1] - 5 * d[3] + d[5];
}

static inline void of_output(const vec *m, vec *out) {
    vec a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], d = m[3] - m[4];
    out[0] = m[0] + a + c;
    out[1] = b + 2 * d;
    out[2] = a + 4 * c;
    out[3] = b + 8 * d + m[5];
}

/* weights [channels][9][COLUMN] -> u [36][step / COLUMN][COLUMN] */
static void transform_weights(const float *weights, size channels, float *u, size step) {
    for (size c = 0; c < channels; c++, weights += 9 * COLUMN)
        for (size v = 0; v < COLUMN; v += LANES) {
            const float *w = weights + v;
            vec across[3][6], out[6];
            for (size x = 0; x < 3; x++)
                of_weights(load(w + x * COLUMN), load(w + (3 + x) * COLUMN), load(w + (6 + x) * COLUMN), across[x]);
            for (size y = 0; y < 6; y++) {
                of_weights(across[0][y], across[1][y], across[2][y], out);
                for (size x = 0; x < 6; x++) store(u + (y * 6 + x) * step + c * COLUMN + v, out[x]);
            }
        }
}

typedef struct { size n, y, x; } Place;

static inline Place place_of(const Job *job, size tile) {
    size across = (job->w + 3) / 4, down = (job->h + 3) / 4;
    return (Place){tile / across / down, tile / across % down * 4, tile % across * 4};
}

/* One tile of all channels -> v [36][step] */
static void transform_input(const Job *job, const float *input, const float *zeros, size tile, float *v, size step) {
    Place at = place_of(job, tile);
    const float *pixel[6][6];
    for (size i = 0; i < 6; i++)
        for (size j = 0; j < 6; j++) {
            size y = at.y + i - 1, x = at.x + j - 1;
            int inside = y >= 0 && y < job->h && x >= 0 && x < job->w;
            pixel[i][j] = inside ? input + ((at.n * job->h + y) * job->w + x) * job->c : zeros;
        }
    for (size c = 0; c < job->c; c += LANES) {
        vec down[6][6], in[6], out[6];
        for (size j = 0; j < 6; j++) {
            for (size i = 0; i < 6; i++) in[i] = load(pixel[i][j] + c);
            of_input(in, out);
            for (size i = 0; i < 6; i++) down[i][j] = out[i];
        }
        for (size i = 0; i < 6; i++) {
            of_input(down[i], out);
            for (size j = 0; j < 6; j++) store(v + (i * 6 + j) * step + c, out[j]);
        }
    }
}

/* Products [36][step] of one tile and one column -> bias, leaky, `from` if there is one, leaky -> output */
static void transform_output(
    const Job *job, const float *products, size step, size tile, size k, const float *bias, const float *from, float *output
) {
    Place at = place_of(job, tile);
    size rows = least(4, job->h - at.y), columns = least(4, job->w - at.x);
    for (size v = 0; v < COLUMN; v += LANES) {
        vec down[4][6], in[6], out[4], shift = load(bias + k + v);
        for (size j = 0; j < 6; j++) {
            for (size i = 0; i < 6; i++) in[i] = load(products + (i * 6 + j) * step + v);
            of_output(in, out);
            for (size i = 0; i < 4; i++) down[i][j] = out[i];
        }
        for (size i = 0; i < rows; i++) {
            of_output(down[i], out);
            size pixel = ((at.n * job->h + at.y + i) * job->w + at.x) * job->k + k + v;
            for (size j = 0; j < columns; j++, pixel += job->k) {
                vec value = leaky(out[j] + shift, job->slope);
                if (from) value = leaky(value + load(from + pixel), job->from_slope);
                store(output + pixel, value);
            }
        }
    }
}

/* (rows, channels) with row `step` by (channels, COLUMN) -> sums (rows, COLUMN), or added to them */
static void multiply(size rows, const float *a, size step, const float *b, size channels, float *sums, int add) {
#define BLOCK(R)                                                                                   \
    {                                                                                              \
        vec sum[R][2];                                                                             \
        const float *row = b;                                                                      \
        for (size r = 0; r < R; r++)                                                               \
            for (size v = 0; v < 2; v++) sum[r][v] = (vec){0};                                     \
        for (size c = 0; c < channels; c++, row += COLUMN) {                                       \
            vec left = load(row), right = load(row + LANES);                                       \
            _Pragma("GCC unroll 12") for (size r = 0; r < R; r++) {                                \
                vec x = splat(a[r * step + c]);                                                    \
                sum[r][0] += x * left;                                                             \
                sum[r][1] += x * right;                                                            \
            }                                                                                      \
        }                                                                                          \
        for (size r = 0; r < R; r++)                                                               \
            for (size v = 0; v < 2; v++) {                                                         \
                float *at = sums + r * COLUMN + v * LANES;                                         \
                store(at, add ? load(at) + sum[r][v] : sum[r][v]);                                 \
            }                                                                                      \
        a += R * step;                                                                             \
        sums += R * COLUMN;                                                                        \
        rows -= R;                                                                                 \
    }
#if ROWS > 8
    while (rows >= ROWS && rows % ROWS != 4) BLOCK(ROWS) /* 8 and 8 are faster than 12 and 4 */
    while (rows >= 8) BLOCK(8)
#endif
    while (rows >= 6) BLOCK(6)
    while (rows >= 4) BLOCK(4)
    while (rows >= 2) BLOCK(2)
    while (rows >= 1) BLOCK(1)
#undef BLOCK
}

size column(void) { return COLUMN; }

/* How many floats `convolve` needs to work in. */
size workspace(const Job *job) {
    return job->c + TAPS * job->superblock * (job->c + LANES) + job->threads * TAPS * COLUMN * (job->block + CHUNK);
}

/* weights [columns][c][9][COLUMN] -> packed [columns][36][c][COLUMN] */
void pack(const float *weights, float *packed, size channels, size columns) {
    for (size n = 0; n < columns; n++)
        transform_weights(weights + n * channels * 9 * COLUMN, channels, packed + n * TAPS * channels * COLUMN, channels * COLUMN);
}

void convolve(
    const Job *job, const float *input, const float *weights, const float *bias, const float *from, float *output, float *space
) {
    size tiles = job->n * ((job->h + 3) / 4) * ((job->w + 3) / 4);
    size channels = job->c, columns = job->k / COLUMN, row = channels + LANES, step = job->superblock * row;
    float *zeros = space, *v = zeros + channels, *scratch = v + TAPS * step;
    for (size c = 0; c < channels; c++) zeros[c] = 0;
#pragma omp parallel num_threads(job->threads)
    {
        float *sums = scratch + omp_get_thread_num() * TAPS * COLUMN * (job->block + CHUNK), *u = sums + TAPS * COLUMN * job->block;
        for (size start = 0; start < tiles; start += job->superblock) {
            size count = least(job->superblock, tiles - start), blocks = (count + job->block - 1) / job->block;
#pragma omp for schedule(dynamic, 4)
            for (size t = 0; t < count; t++) transform_input(job, input, zeros, start + t, v + t * row, step);
#pragma omp for schedule(dynamic, 1)
            for (size task = 0; task < blocks * columns; task++) {
                size n = task / blocks, first = task % blocks * job->block, rows = least(job->block, count - first);
                size part = job->packed ? PART : CHUNK;
                for (size c = 0; c < channels; c += part) {
                    size some = least(part, channels - c), width = job->packed ? channels : CHUNK;
                    const float *taps = weights + (n * TAPS * channels + c) * COLUMN;
                    if (!job->packed) {
                        transform_weights(weights + (n * channels + c) * 9 * COLUMN, some, u, CHUNK * COLUMN);
                        taps = u;
                    }
                    for (size p = 0; p < TAPS; p++)
                        multiply(rows, v + p * step + first * row + c, row, taps + p * width * COLUMN, some,
                                 sums + p * job->block * COLUMN, c > 0);
                }
                for (size t = 0; t < rows; t++)
                    transform_output(job, sums + t * COLUMN, job->block * COLUMN, start + first + t, n * COLUMN, bias, from, output);
            }
        }
    }
}
