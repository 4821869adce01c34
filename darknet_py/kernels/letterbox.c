/* Pictures of 8 bits to the input of a network, float32 and channels last: columns, then rows, as image.resize does it.

   Roundings are those of torch, so that the results are equal. */

#include "kernel.h"

#pragma GCC optimize("fp-contract=off")

typedef float pixel __attribute__((vector_size(16), aligned(4))); /* red, green, blue and something */

typedef struct {
    Buffer pixels;
    size h, w, step, row; /* rows, pixels in a row, bytes of a pixel, 3 or 4, and from row to row */
} Picture;

typedef struct {
    const int32_t *near, *far; /* the two neighbours of each sample */
    const float *near_weight, *far_weight;
    size count; /* of samples, in each of the four */
} Axis;

/* x / 255, rounded as a division is, of any x in 8 bits */
static inline float share(float x) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    const float inverse = 1 / 255.0f;
    float close = x * inverse;
    return __builtin_fmaf(__builtin_fmaf(-255, close, x), inverse, close);
#else
    return x / 255;
#endif
}

/* One row of the picture -> (count, 3), and a float more; `line` has room for the row and a float */
static void squeezed(const uint8_t *row, const Picture *picture, const Axis *columns, float *line, float *to) {
    size step = picture->step, used = step * (picture->w - 1) + 3; /* after the last pixel there may be nothing */
    for (size i = 0; i < used; i++) line[i] = share(row[i]);
    for (size x = 0; x < columns->count; x++) {
        pixel near = *(const pixel *)(line + step * columns->near[x]), far = *(const pixel *)(line + step * columns->far[x]);
        *(pixel *)(to + 3 * x) = near * columns->near_weight[x] + far * columns->far_weight[x];
    }
}

/* How many floats `resize_picture` needs to work in, or -1 for sizes that cannot be. */
size resize_workspace(const Picture *picture, const Axis *columns) {
    size line = product(picture->step, picture->w), lines = product(6, columns->count);
    return picture->h > 0 && picture->w > 0 && picture->row >= 0 && (picture->step == 3 || picture->step == 4)
        ? sum(sum(line, lines), 12) : -1;
}

/* Whether the neighbours of each sample are among so many */
static int is_axis(const Axis *axis, size many) {
    if (axis->count <= 0) return 0;
    for (size i = 0; i < axis->count; i++)
        if (axis->near[i] < 0 || axis->near[i] >= many || axis->far[i] < 0 || axis->far[i] >= many) return 0;
    return 1;
}

/* -> output (rows, columns, 3) with `stride` floats from row to row; the buffers are output and space */
int resize_picture(const Picture *picture, const Axis *columns, const Axis *rows, size stride, const Buffer *buffers) {
    size room = resize_workspace(picture, columns), wide = product(3, columns->count);
    if (room < 0 || wide < 0 || !is_axis(columns, picture->w) || !is_axis(rows, picture->h)) return MISFIT;
    size last = sum(product(picture->h - 1, picture->row), picture->step * (picture->w - 1) + 3);
    if (stride < wide || !holds(picture->pixels, last) || !holds(buffers[1], product(room, 4)) ||
        !holds(buffers[0], product(sum(product(rows->count - 1, stride), wide), 4)))
        return MISFIT;
    const uint8_t *pixels = picture->pixels.at;
    float *output = (float *)buffers[0].at, *space = (float *)buffers[1].at;
    float *line = space + 2 * (wide + 4), *upper = space, *lower = space + wide + 4;
    int32_t above = -1, below = -1;
    line[picture->step * (picture->w - 1) + 3] = 0; /* the fourth value of the last pixel */
    for (size y = 0; y < rows->count; y++) {
        if (rows->near[y] == below) { /* what was below is above now */
            float *swapped = upper;
            upper = lower, lower = swapped;
            above = below, below = -1;
        }
        if (rows->near[y] != above)
            squeezed(pixels + (above = rows->near[y]) * picture->row, picture, columns, line, upper);
        if (rows->far[y] != below)
            squeezed(pixels + (below = rows->far[y]) * picture->row, picture, columns, line, lower);
        float near = rows->near_weight[y], far = rows->far_weight[y], *to = output + y * stride;
        for (size x = 0; x < wide; x++) to[x] = upper[x] * near + lower[x] * far;
    }
    return DONE;
}
