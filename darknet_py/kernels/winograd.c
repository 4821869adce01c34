/* 3 x 3 convolution of stride 1 and padding 1 after Winograd, F(4 x 4, 3 x 3) of Lavin and Gray (arXiv 1509.09308).

   A tile is 6 x 6 input pixels that give 4 x 4 output pixels by 36 products instead of 144; tiles overlap by two pixels
   and what lies outside the picture is zero. Weights are [columns][c][3 * 3][COLUMN] as they are, transformed anew for
   every block of tiles, or `packed` as [columns][chunks][36][CHUNK][COLUMN], which is four times as large. Weights that
   are not packed may be bfloat16, the upper halves of floats. */

#include "kernel.h"

#define CHUNK 32 /* channels multiplied and summed at a time: longer sums lose digits */
#define TAPS 36
#define PAD 16 /* floats between what would else fall into the same lines of the cache */

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

/* weights [channels][9][COLUMN] -> u [36][step], of which [channels][COLUMN] are used */
static inline __attribute__((always_inline)) void transform(
    const void *weights, const int half, size channels, float *u, size step
) {
    for (size c = 0; c < channels; c++)
        for (size v = 0; v < COLUMN; v += LANES) {
            vec across[3][6], column[3], out[6];
            for (size x = 0; x < 3; x++) {
                for (size y = 0; y < 3; y++) column[y] = load_at(weights, (c * 9 + y * 3 + x) * COLUMN + v, half);
                of_weights(column[0], column[1], column[2], across[x]);
            }
            for (size y = 0; y < 6; y++) {
                of_weights(across[0][y], across[1][y], across[2][y], out);
                for (size x = 0; x < 6; x++) store(u + (y * 6 + x) * step + c * COLUMN + v, out[x]);
            }
        }
}

static void transform_weights(const void *weights, int half, size channels, float *u, size step) {
    if (half)
        transform(weights, 1, channels, u, step);
    else
        transform(weights, 0, channels, u, step);
}

typedef struct { size n, y, x; } Place;

static inline Place place_of(const Job *job, size tile) {
    size across = (job->w + 3) / 4, down = (job->h + 3) / 4;
    return (Place){tile / across / down, tile / across % down * 4, tile % across * 4};
}

/* Steps of a block of transformed tiles, [chunks][36][block][CHUNK], and of products, [36][block][COLUMN] */
static inline size tap_step(const Job *job) { return job->block * CHUNK + PAD; }
static inline size chunk_step(const Job *job) { return TAPS * tap_step(job); }
static inline size chunks_of(const Job *job) { return (job->c + CHUNK - 1) / CHUNK; }
static inline size product_step(const Job *job) { return job->block * COLUMN + PAD; }
#define WEIGHT_STEP (CHUNK * COLUMN + PAD)

/* Blocks of transformed tiles that there are at a time */
static inline size blocks_of(const Job *job) { return job->packed ? job->threads : job->superblock / job->block; }

/* One tile of all channels -> its row in a block of tiles */
static inline __attribute__((always_inline)) void tile_of(
    const Job *job, const int brief, const void *input, const float *zeros, size tile, float *v
) {
    Place at = place_of(job, tile);
    size step = tap_step(job), bytes = brief ? 2 : 4;
    const void *pixel[6][6];
    for (size i = 0; i < 6; i++)
        for (size j = 0; j < 6; j++) {
            size y = at.y + i - 1, x = at.x + j - 1;
            int inside = y >= 0 && y < job->h && x >= 0 && x < job->w;
            pixel[i][j] = inside ? (const char *)input + ((at.n * job->h + y) * job->w + x) * job->c * bytes : (const char *)zeros;
        }
    for (size c = 0; c < job->c; c += LANES) {
        float *u = v + c / CHUNK * chunk_step(job) + c % CHUNK;
        vec down[6][6], in[6], out[6];
        for (size j = 0; j < 6; j++) {
            for (size i = 0; i < 6; i++) in[i] = load_at(pixel[i][j], c, brief);
            of_input(in, out);
            for (size i = 0; i < 6; i++) down[i][j] = out[i];
        }
        for (size i = 0; i < 6; i++) {
            of_input(down[i], out);
            for (size j = 0; j < 6; j++) store(u + (i * 6 + j) * step, out[j]);
        }
    }
}

static void transform_input(const Job *job, const void *input, const float *zeros, size tile, float *v) {
    if (job->brief)
        tile_of(job, 1, input, zeros, tile, v);
    else
        tile_of(job, 0, input, zeros, tile, v);
}

/* Products [36][step] of one tile and one column -> bias, leaky, `from` if there is one, leaky, pooling -> output */
static inline __attribute__((always_inline)) void pixels_of(
    const Job *job, const int brief, const float *products, size step, size tile, size k, const float *bias,
    const void *from, void *output
) {
    Place at = place_of(job, tile);
    size rows = least(4, job->h - at.y), columns = least(4, job->w - at.x), shrink = job->pool + 1;
    size high = (job->h + job->pool) / shrink, wide = (job->w + job->pool) / shrink;
    size corner = ((at.n * high + at.y / shrink) * wide + at.x / shrink) * job->k + k;
    for (size v = 0; v < COLUMN && k + v < job->k; v += LANES) {
        vec down[4][6], in[6], out[4][4], shift = load(bias + k + v);
        for (size j = 0; j < 6; j++) {
            vec column[4];
            for (size i = 0; i < 6; i++) in[i] = load(products + (i * 6 + j) * step + v);
            of_output(in, column);
            for (size i = 0; i < 4; i++) down[i][j] = column[i];
        }
        for (size i = 0; i < 4; i++) of_output(down[i], out[i]);
        for (size i = 0; i < rows; i += shrink)
            for (size j = 0; j < columns; j += shrink) {
                size pixel = corner + (i / shrink * wide + j / shrink) * job->k + v;
                vec value = out[i][j];
                if (job->pool) { /* leaky keeps the order, so that the largest sum gives the largest output */
                    size right = j + (j + 1 < columns), below = i + (i + 1 < rows);
                    value = greater(greater(value, out[i][right]), greater(out[below][j], out[below][right]));
                }
                value = leaky(value + shift, job->slope);
                if (from) value = leaky(value + load_at(from, pixel, brief), job->from_slope);
                store_at(output, pixel, value, brief);
            }
    }
}

static void transform_output(
    const Job *job, const float *products, size step, size tile, size k, const float *bias, const void *from, void *output
) {
    if (job->brief)
        pixels_of(job, 1, products, step, tile, k, bias, from, output);
    else
        pixels_of(job, 0, products, step, tile, k, bias, from, output);
}

size column(void) { return COLUMN; }

static int is_winograd(const Job *job) {
    return is_job(job) && job->c % LANES == 0 && is_switch(job->packed) && is_switch(job->half) && !(job->packed && job->half) &&
           job->block > 0 && job->group > 0 && (job->packed || (job->superblock > 0 && job->superblock % job->block == 0));
}

/* How many floats `winograd` needs to work in, or -1 for sizes that cannot be. */
size winograd_workspace(const Job *job) {
    if (!is_winograd(job)) return -1;
    size of_block = product(sum(product(job->block, CHUNK), PAD), TAPS * chunks_of(job));
    size of_products = product(sum(product(job->block, COLUMN), PAD), job->group);
    size own = product(sum(of_products, WEIGHT_STEP), TAPS);
    return sum(sum(job->c, product(blocks_of(job), of_block)), product(job->threads, own));
}

/* How many floats `winograd_pack` gives */
size winograd_packed(size channels, size columns) {
    if (channels <= 0 || columns <= 0) return -1;
    return product(product(columns, channels / CHUNK + (channels % CHUNK > 0)), TAPS * CHUNK * COLUMN);
}

/* Weights [columns][c][9][COLUMN] -> packed [columns][chunks][36][CHUNK][COLUMN] */
int winograd_pack(size channels, size columns, const Buffer *buffers) {
    const float *weights = buffers[0].at;
    float *packed = (float *)buffers[1].at;
    size wanted = winograd_packed(channels, columns);
    if (wanted < 0 || !holds(buffers[0], volume(columns, channels, 9 * COLUMN, 4)) || !holds(buffers[1], product(wanted, 4)))
        return MISFIT;
    for (size n = 0; n < columns; n++)
        for (size c = 0; c < channels; c += CHUNK, packed += TAPS * CHUNK * COLUMN)
            transform_weights(weights + (n * channels + c) * 9 * COLUMN, 0, least(CHUNK, channels - c), packed, CHUNK * COLUMN);
    return DONE;
}

/* `rows` tiles of a block by `count` columns from the n-th on -> products */
static void products(
    const Job *job, size rows, const float *v, const void *weights, size n, size count, float *sums, float *u
) {
    size bytes = job->half ? 2 : 4, step = job->packed ? CHUNK * COLUMN : WEIGHT_STEP;
    size share = CHUNK * COLUMN * 9 * bytes / TAPS; /* of the next weights, fetched during the product of a tap */
    for (size chunk = 0; chunk < chunks_of(job); chunk++) {
        size some = least(CHUNK, job->c - chunk * CHUNK);
        for (size i = n; i < n + count; i++) {
            const float *taps = u;
            const char *plain = (const char *)weights + (i * job->c + chunk * CHUNK) * 9 * COLUMN * bytes;
            const char *next = plain + (i + 1 < n + count ? job->c : some - (count - 1) * job->c) * 9 * COLUMN * bytes;
            if (job->packed)
                taps = (const float *)weights + (i * chunks_of(job) + chunk) * TAPS * CHUNK * COLUMN;
            else
                transform_weights(plain, job->half, some, u, WEIGHT_STEP);
            for (size p = 0; p < TAPS; p++) {
                for (size byte = 0; byte < share && !job->packed; byte += 64) __builtin_prefetch(next + p * share + byte, 0, 2);
                multiply(rows, v + chunk * chunk_step(job) + p * tap_step(job), CHUNK, 1, 0, taps + p * step, some,
                         sums + ((i - n) * TAPS + p) * product_step(job), chunk > 0);
            }
        }
    }
}

/* The buffers are input, weights, bias, what is added (or nothing), output and space. */
int winograd(const Job *job, const Buffer *buffers) {
    size room = winograd_workspace(job);
    if (room < 0) return MISFIT;
    size columns = (job->k + COLUMN - 1) / COLUMN;
    size of_weights = product(columns, product(product(job->c, 9 * COLUMN), job->half ? 2 : 4));
    if (job->packed) of_weights = product(winograd_packed(job->c, columns), 4);
    if (!holds(buffers[0], product(volume(job->n, job->h, job->w, job->c), job->brief ? 2 : 4)) ||
        !holds(buffers[1], of_weights) || !holds(buffers[2], product(job->k, 4)) ||
        (buffers[3].at && !holds(buffers[3], output_bytes(job))) || (buffers[3].at && job->pool) ||
        !holds(buffers[4], output_bytes(job)) || !holds(buffers[5], product(room, 4)))
        return MISFIT;
    const void *input = buffers[0].at, *weights = buffers[1].at, *from = buffers[3].at;
    const float *bias = buffers[2].at;
    void *output = (void *)buffers[4].at;
    float *space = (float *)buffers[5].at;
    size tiles = job->n * ((job->h + 3) / 4) * ((job->w + 3) / 4);
    size groups = (columns + job->group - 1) / job->group;
    size whole = chunks_of(job) * chunk_step(job), apart = TAPS * product_step(job);
    float *zeros = space, *v = zeros + job->c, *scratch = v + blocks_of(job) * whole;
    for (size c = 0; c < job->c; c++) zeros[c] = 0;
#pragma omp parallel num_threads(job->threads)
    {
        float *sums = scratch + omp_get_thread_num() * (job->group * apart + TAPS * WEIGHT_STEP), *u = sums + job->group * apart;
        if (job->packed) { /* a thread does all of a block */
            float *own = v + omp_get_thread_num() * whole;
#pragma omp for schedule(dynamic, 1)
            for (size first = 0; first < tiles; first += job->block) {
                size rows = least(job->block, tiles - first);
                for (size t = 0; t < rows; t++) transform_input(job, input, zeros, first + t, own + t * CHUNK);
                for (size n = 0; n < columns; n++) {
                    products(job, rows, own, weights, n, 1, sums, u);
                    for (size t = 0; t < rows; t++)
                        transform_output(job, sums + t * COLUMN, product_step(job), first + t, n * COLUMN, bias, from, output);
                }
            }
        } else /* threads share the blocks, and the columns of each */
            for (size start = 0; start < tiles; start += job->superblock) {
                size count = least(job->superblock, tiles - start), blocks = (count + job->block - 1) / job->block;
#pragma omp for schedule(dynamic, 4)
                for (size t = 0; t < count; t++)
                    transform_input(job, input, zeros, start + t, v + t / job->block * whole + t % job->block * CHUNK);
#pragma omp for schedule(dynamic, 1)
                for (size task = 0; task < blocks * groups; task++) {
                    size n = task / blocks * job->group, some = least(job->group, columns - n);
                    size place = task % blocks, first = start + place * job->block;
                    size rows = least(job->block, start + count - first);
                    products(job, rows, v + place * whole, weights, n, some, sums, u);
                    for (size i = 0; i < some; i++)
                        for (size t = 0; t < rows; t++)
                            transform_output(job, sums + i * apart + t * COLUMN, product_step(job), first + t, (n + i) * COLUMN,
                                             bias, from, output);
                }
            }
    }
    return DONE;
}
