/* Pictures of 8 bits to the input of a network, float32 and channels last: columns, then rows, as image.resize does it.

   Roundings are those of torch, so that the results are equal. */

#include "kernel.h"

#pragma GCC optimize("fp-contract=off")

typedef float pixel __attribute__((vector_size(16), aligned(4))); /* red, green, blue and something */

typedef struct {
    const uint8_t *pixels;
    size w, step, row; /* pixels in a row, bytes of a pixel, 3 or 4, and from row to row */
} Picture;

typedef struct {
    const int32_t *near, *far; /* the two neighbours of each sample */
    const float *near_weight, *far_weight;
    size count;
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
    size step = picture->step;
    for (size i = 0; i < step * picture->w; i++) line[i] = share(row[i]);
    for (size x = 0; x < columns->count; x++) {
        pixel near = *(const pixel *)(line + step * columns->near[x]), far = *(const pixel *)(line + step * columns->far[x]);
        *(pixel *)(to + 3 * x) = near * columns->near_weight[x] + far * columns->far_weight[x];
    }
}

size resize_workspace(const Picture *picture, const Axis *columns) { return picture->step * picture->w + 6 * columns->count + 12; }

/* -> (rows, columns, 3) with `stride` floats from row to row */
void resize_picture(const Picture *picture, const Axis *columns, const Axis *rows, float *output, size stride, float *space) {
    size wide = 3 * columns->count;
    float *line = space + 2 * (wide + 4), *upper = space, *lower = space + wide + 4;
    int32_t above = -1, below = -1;
    line[picture->step * picture->w] = 0;
    for (size y = 0; y < rows->count; y++) {
        if (rows->near[y] == below) { /* what was below is above now */
            float *swapped = upper;
            upper = lower, lower = swapped;
            above = below, below = -1;
        }
        if (rows->near[y] != above)
            squeezed(picture->pixels + (above = rows->near[y]) * picture->row, picture, columns, line, upper);
        if (rows->far[y] != below)
            squeezed(picture->pixels + (below = rows->far[y]) * picture->row, picture, columns, line, lower);
        float near = rows->near_weight[y], far = rows->far_weight[y], *to = output + y * stride;
        for (size x = 0; x < wide; x++) to[x] = upper[x] * near + lower[x] * far;
    }
}
