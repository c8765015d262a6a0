// What the kernels that treat each row alone take and give: norms, activations, sums, losses.
#pragma once

#include "kernels.h"

namespace mm_rec {

// [rows, channels], channels contiguous; the stride in elements. Null data: not there.
struct Matrix {
    void* data = nullptr;
    int64_t row_stride = 0;
    Storage storage = Storage::fp32;
};

struct RowCall {
    int64_t rows;
    int64_t channels;
    int threads;
};

// y = x * rstd * weight, rstd = 1 / sqrt(mean(x^2) + eps).
struct RmsNorm : RowCall {
    Matrix x;
    const float* weight;
    float eps;
    Matrix y;
    float* rstd;  // [rows]
};

struct RmsNormBackward : RowCall {
    Matrix y_gradient;
    Matrix x;
    const float* weight;
    const float* rstd;
    Matrix x_gradient;
    float* weight_gradient;
};

// out = rms_norm(h + context) * silu(e), without a weight.
struct GatedNorm : RowCall {
    Matrix h;
    Matrix context;  // may be null
    Matrix e;
    float eps;
    Matrix out;
    float* rstd;
};

// The gradient of h is that of context too.
struct GatedNormBackward : RowCall {
    Matrix out_gradient;
    Matrix h;
    Matrix context;
    Matrix e;
    const float* rstd;
    Matrix h_gradient;
    Matrix e_gradient;
};

// y = gelu(x + bias).
struct BiasGelu : RowCall {
    Matrix x;
    const float* bias;
    Matrix y;
};

struct BiasGeluBackward : RowCall {
    Matrix y_gradient;
    Matrix x;
    const float* bias;
    Matrix x_gradient;
    float* bias_gradient;
};

// sum[c] = sum over rows of x[row, c], in fp32.
struct ColumnSum : RowCall {
    Matrix x;
    float* sum;
};

// Loss of each row, logsumexp(logits) - logits[label], and its derivative by the logits in their
// place. A label below 0 counts nothing.
struct CrossEntropy : RowCall {
    Matrix logits;
    const int64_t* labels;
    float* loss;  // [rows]
    bool needs_slope;
};

}  // namespace mm_rec
