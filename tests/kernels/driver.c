/* Calls every function of the C kernels with random sizes, in memory of exactly the size that each needs: the sanitizers
   that this is compiled with see a read or write outside. Then with sizes and memory that do not fit, which is refused. */

#include "kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    Buffer pixels;
    size h, w, step, row;
} Picture;

typedef struct {
    const int32_t *near, *far;
    const float *near_weight, *far_weight;
    size count;
} Axis;

size column(void);
size winograd_workspace(const Job *job);
size winograd_packed(size channels, size columns);
int winograd_pack(size channels, size columns, const Buffer *buffers);
int winograd(const Job *job, const Buffer *buffers);
size narrow_workspace(const Job *job);
int narrow(const Job *job, const Buffer *buffers);
size resize_workspace(const Picture *picture, const Axis *columns);
int resize_picture(const Picture *picture, const Axis *columns, const Axis *rows, size stride, const Buffer *buffers);

static uint64_t state = 1;

static size drawn(size from, size to) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return from + (size)((state >> 33) % (uint64_t)(to - from + 1));
}

static void must(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "%s\n", what);
    exit(3);
}

static Buffer memory(size bytes) {
    Buffer made = {malloc(bytes), bytes};
    memset((void *)made.at, 0, bytes);
    return made;
}

static void release(Buffer *buffers, size count) {
    for (size i = 0; i < count; i++) free((void *)buffers[i].at);
}

static const size ODD[] = {0, -1, -7, (size)1 << 31, (size)1 << 40, (size)1 << 61, PTRDIFF_MAX, PTRDIFF_MAX - 1, PTRDIFF_MIN};
static size odd(void) { return ODD[drawn(0, sizeof ODD / sizeof *ODD - 1)]; }

/* A convolution by `function`: whole, with each buffer a byte too short or absent, and with each size an odd one */
static void convolution(int (*function)(const Job *, const Buffer *), const Job *job, Buffer *buffers, int count, int spare) {
    must(function(job, buffers) == DONE, "a convolution that fits was refused");
    for (int i = 0; i < count; i++) {
        Buffer whole = buffers[i];
        if (!whole.at) continue;
        buffers[i].bytes--;
        must(function(job, buffers) == MISFIT, "a buffer that is too short was taken");
        buffers[i] = (Buffer){NULL, whole.bytes};
        must(i == spare || function(job, buffers) == MISFIT, "a buffer that is not there was taken");
        buffers[i] = whole;
    }
    for (size *value = (size *)&job->n; value <= &((Job *)job)->group; value++) {
        size before = *value, other = odd();
        *value = other;
        int code = function(job, buffers); /* 0 is a size for switches and for what a kernel does not look at */
        must(code == DONE || code == MISFIT, "another code");
        *value = before;
    }
}

static void one_winograd(void) {
    Job job = {drawn(1, 3), drawn(1, 14), drawn(1, 14), 16 * drawn(1, 5), LANES * drawn(1, 7), drawn(0, 1), drawn(1, 3), drawn(0, 1),
               drawn(0, 1), 0, 0, drawn(1, 20), drawn(1, 4), .1f, 1};
    size bytes = job.brief ? 2 : 4, columns = (job.k + COLUMN - 1) / COLUMN;
    job.half = !job.packed && drawn(0, 1);
    job.superblock = job.block * (job.packed ? 1 : drawn(1, 4));
    size plain = columns * job.c * 9 * COLUMN, all = plain * (job.half ? 2 : 4);
    if (job.packed) {
        size floats = winograd_packed(job.c, columns);
        Buffer pair[2] = {memory(plain * 4), memory(floats * 4)};
        must(winograd_pack(job.c, columns, pair) == DONE, "weights that fit were refused");
        for (int i = 0; i < 2; i++) {
            pair[i].bytes--;
            must(winograd_pack(job.c, columns, pair) == MISFIT, "weights that do not fit were taken");
            pair[i].bytes++;
        }
        must(winograd_pack(odd(), columns, pair) == MISFIT && winograd_pack(job.c, odd(), pair) == MISFIT, "odd sizes were taken");
        release(pair, 2);
        all = floats * 4;
    }
    size high = (job.h + job.pool) / (job.pool + 1), wide = (job.w + job.pool) / (job.pool + 1), out = job.n * high * wide * job.k * bytes;
    Buffer buffers[6] = {memory(job.n * job.h * job.w * job.c * bytes), memory(all), memory(job.k * 4), {NULL, 0}, memory(out),
                         memory(winograd_workspace(&job) * 4)};
    if (!job.pool && drawn(0, 1)) buffers[3] = memory(out);
    convolution(winograd, &job, buffers, 6, 3);
    release(buffers, 6);
}

static void one_narrow(void) {
    Job job = {drawn(1, 3), drawn(1, 20), drawn(1, 70), drawn(0, 1) ? 3 : 1, LANES * drawn(1, 5), drawn(0, 1), drawn(1, 3), drawn(0, 1)};
    job.slope = .1f;
    size high = (job.h + job.pool) / (job.pool + 1), wide = (job.w + job.pool) / (job.pool + 1);
    Buffer buffers[5] = {memory(job.n * job.h * job.w * job.c * 4), memory((job.k + COLUMN - 1) / COLUMN * 9 * job.c * COLUMN * 4),
                         memory(job.k * 4), memory(job.n * high * wide * job.k * (job.brief ? 2 : 4)),
                         memory(narrow_workspace(&job) * 4)};
    convolution(narrow, &job, buffers, 5, -1);
    release(buffers, 5);
}

static Axis axis(size side, size count) {
    int32_t *near = malloc(count * 4), *far = malloc(count * 4);
    float *weights = malloc(count * 8);
    for (size i = 0; i < count; i++) {
        near[i] = (int32_t)drawn(0, side - 1), far[i] = (int32_t)least(near[i] + 1, side - 1);
        weights[i] = weights[count + i] = .5f;
    }
    return (Axis){near, far, weights, weights + count, count};
}

static void drop(Axis *axis) { free((void *)axis->near), free((void *)axis->far), free((void *)axis->near_weight); }

static void one_resize(void) {
    Picture picture = {{NULL, 0}, drawn(1, 20), drawn(1, 20), drawn(3, 4), 0};
    picture.row = picture.w * picture.step + drawn(0, 5);
    picture.pixels = memory((picture.h - 1) * picture.row + (picture.w - 1) * picture.step + 3);
    Axis columns = axis(picture.w, drawn(1, 30)), rows = axis(picture.h, drawn(1, 30));
    size stride = 3 * columns.count + drawn(0, 5);
    Buffer buffers[2] = {memory(((rows.count - 1) * stride + 3 * columns.count) * 4), memory(resize_workspace(&picture, &columns) * 4)};
    must(resize_picture(&picture, &columns, &rows, stride, buffers) == DONE, "a picture that fits was refused");
    Buffer *all[3] = {&picture.pixels, buffers, buffers + 1};
    for (int i = 0; i < 3; i++) {
        all[i]->bytes--;
        must(resize_picture(&picture, &columns, &rows, stride, buffers) == MISFIT, "a buffer that is too short was taken");
        all[i]->bytes++;
    }
    must(resize_picture(&picture, &columns, &rows, stride - 6, buffers) == MISFIT, "a stride that is too small was taken");
    for (size *value = &picture.h; value <= &picture.row; value++) {
        size before = *value;
        *value = odd();
        int code = resize_picture(&picture, &columns, &rows, stride, buffers);
        must(code == MISFIT || value == &picture.row, "an odd size was taken");
        *value = before;
    }
    Axis *both[2] = {&columns, &rows};
    for (int i = 0; i < 2; i++) {
        int32_t *places[2] = {(int32_t *)both[i]->near, (int32_t *)both[i]->far};
        for (int j = 0; j < 2; j++) {
            int32_t *place = places[j] + drawn(0, both[i]->count - 1), before = *place;
            *place = drawn(0, 1) ? -1 : (int32_t)(i ? picture.h : picture.w);
            must(resize_picture(&picture, &columns, &rows, stride, buffers) == MISFIT, "a place outside the picture was taken");
            *place = before;
        }
        size before = both[i]->count;
        both[i]->count = i ? (size)1 << 62 : odd();
        if (both[i]->count <= 0) must(resize_picture(&picture, &columns, &rows, stride, buffers) == MISFIT, "no samples were taken");
        both[i]->count = before;
    }
    free((void *)picture.pixels.at), release(buffers, 2), drop(&columns), drop(&rows);
}

int main(int count, char **words) {
    must(count == 2 && column() == COLUMN, "usage: driver ROUNDS");
    for (long left = atol(words[1]); left; left--) one_winograd(), one_narrow(), one_resize();
    puts("all fits");
    return 0;
}
