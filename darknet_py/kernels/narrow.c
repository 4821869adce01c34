/* 3 x 3 convolution of stride 1 and padding 1 over one or three channels, as pictures have.

   Weights are [columns][3][3 * c][COLUMN], with zeros where the last column goes beyond k. */

#include "kernel.h"

#define BAND 8  /* rows of the output that are made together; even, for pooling */
#define PART 28 /* pixels of a row that are made together; even too */

static int is_narrow(const Job *job) { return is_job(job) && (job->c == 1 || job->c == 3); }

/* How many floats `narrow` needs to work in, or -1 for sizes that cannot be. */
size narrow_workspace(const Job *job) { return is_narrow(job) ? volume(job->threads, BAND + 2, job->w + 2, job->c) : -1; }

/* Rows y - 1 to y + BAND of picture n, with zeros around the picture */
static void framed(const Job *job, const float *input, size n, size y, float *rows) {
    size wide = job->w * job->c;
    for (size i = y - 1; i <= y + BAND; i++) {
        int inside = i >= 0 && i < job->h;
        const float *row = input + (n * job->h + i) * wide;
        for (size c = 0; c < job->c; c++) *rows++ = 0;
        for (size x = 0; x < wide; x++) *rows++ = inside ? row[x] : 0;
        for (size c = 0; c < job->c; c++) *rows++ = 0;
    }
}

/* Sums (2, PART, COLUMN) of `rows` rows of `count` pixels -> bias, leaky, pooling -> output at (y, x) */
static inline __attribute__((always_inline)) void finish(
    const Job *job, const int brief, const float *sums, size rows, size count, const float *bias, size channels, void *output,
    size place
) {
    for (size v = 0; v < channels; v += LANES) {
        vec shift = load(bias + v);
        for (size y = 0; y < rows; y += job->pool + 1)
            for (size x = 0; x < count; x += job->pool + 1) {
                const float *at = sums + (y * PART + x) * COLUMN + v;
                vec value = load(at);
                if (job->pool) { /* leaky keeps the order, so that the largest sum gives the largest output */
                    size right = x + 1 < count ? COLUMN : 0, below = y + 1 < rows ? PART * COLUMN : 0;
                    value = greater(greater(value, load(at + right)), greater(load(at + below), load(at + below + right)));
                    store_at(output, place + x / 2 * job->k + v, leaky(value + shift, job->slope), brief);
                } else
                    store_at(output, place + (y * job->w + x) * job->k + v, leaky(value + shift, job->slope), brief);
            }
    }
}

static inline __attribute__((always_inline)) void band(
    const Job *job, const size channels, const float *rows, const float *weights, const float *bias, size count, void *output,
    size place
) {
    size step = (job->w + 2) * channels, shrink = job->pool + 1, wide = (job->w + job->pool) / shrink;
    float sums[2 * PART * COLUMN];
    for (size y = 0; y < count; y += 2)
        for (size x = 0; x < job->w; x += PART) {
            size high = least(2, count - y), some = least(PART, job->w - x);
            for (size k = 0; k < job->k; k += COLUMN) {
                for (size i = 0; i < high; i++)
                    multiply(some, rows + (y + i) * step + x * channels, channels, 3, step, weights + k * 9 * channels,
                             3 * channels, sums + i * PART * COLUMN, 0);
                size at = place + (y / shrink * wide + x / shrink) * job->k + k, columns = least(COLUMN, job->k - k);
                if (job->brief)
                    finish(job, 1, sums, high, some, bias + k, columns, output, at);
                else
                    finish(job, 0, sums, high, some, bias + k, columns, output, at);
            }
        }
}

/* The buffers are input, weights, bias, output and space. */
int narrow(const Job *job, const Buffer *buffers) {
    size room = narrow_workspace(job);
    if (room < 0) return MISFIT;
    size columns = (job->k + COLUMN - 1) / COLUMN;
    if (!holds(buffers[0], product(volume(job->n, job->h, job->w, job->c), 4)) ||
        !holds(buffers[1], product(columns, 9 * job->c * COLUMN * 4)) || !holds(buffers[2], product(job->k, 4)) ||
        !holds(buffers[3], output_bytes(job)) || !holds(buffers[4], product(room, 4)))
        return MISFIT;
    const float *input = buffers[0].at, *weights = buffers[1].at, *bias = buffers[2].at;
    void *output = (void *)buffers[3].at;
    float *space = (float *)buffers[4].at;
    size bands = (job->h + BAND - 1) / BAND, shrink = job->pool + 1;
    size high = (job->h + job->pool) / shrink, wide = (job->w + job->pool) / shrink;
#pragma omp parallel num_threads(job->threads)
    {
        float *rows = space + omp_get_thread_num() * (BAND + 2) * (job->w + 2) * job->c;
#pragma omp for schedule(dynamic, 1)
        for (size task = 0; task < job->n * bands; task++) {
            size n = task / bands, y = task % bands * BAND, count = least(BAND, job->h - y);
            size place = (n * high + y / shrink) * wide * job->k;
            framed(job, input, n, y, rows);
            if (job->c == 1)
                band(job, 1, rows, weights, bias, count, output, place);
            else
                band(job, 3, rows, weights, bias, count, output, place);
        }
    }
    return DONE;
}
