// Products of a weight matrix with a few vectors: each row of weights is read once, where it lies,
// and meets all of them. Bound by how fast the weights come in.
#pragma once

#include "decode_step.h"
#include "kernels/simd.h"

namespace mm_rec::MM_REC_ISA {

// Vectors that share one pass over the weights: as many as the registers hold.
constexpr int kSharedVectors = kLanes == 16 ? 4 : 2;
// Rows of weights side by side: their chains of additions overlap.
constexpr int kSideRows = 4;

// A batch of vectors; strides in elements.
struct Vectors {
    float* data;
    int64_t stride;

    float* operator[](int64_t row) const { return data + row * stride; }
};

template <int W>
inline float sum(Float<W> value) {
    if constexpr (W == 1) {
        return value[0];
    } else {
        Float<W / 2> halves[2];
        __builtin_memcpy(halves, &value, sizeof(value));
        return sum<W / 2>(halves[0] + halves[1]);
    }
}

// Computes N outputs, from `row` on, of R vectors, from `first` on.
template <int N, int R>
inline void product_tile(const Linear& linear, const Vectors& x, const Vectors& y, int64_t row,
                         int64_t first) {
    const float* weight = linear.weight + row * linear.row_stride;
    Float<kLanes> sums[N][R] = {};
    int64_t k = 0;
    for (; k + kLanes <= linear.inputs; k += kLanes) {
        Float<kLanes> values[R];
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) values[r] = load<kLanes>(x[first + r] + k);
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) {
            const Float<kLanes> w = load<kLanes>(weight + n * linear.row_stride + k);
#pragma GCC unroll 4
            for (int r = 0; r < R; ++r) sums[n][r] += w * values[r];
        }
    }
    for (int n = 0; n < N; ++n) {
        const float bias = linear.bias ? linear.bias[row + n] : 0.0f;
        for (int r = 0; r < R; ++r) {
            float total = sum<kLanes>(sums[n][r]);
            for (int64_t rest = k; rest < linear.inputs; ++rest)
                total += weight[n * linear.row_stride + rest] * x[first + r][rest];
            y[first + r][row + n] = total + bias;
        }
    }
}

template <int R>
inline void product_rows(const Linear& linear, const Vectors& x, const Vectors& y, int64_t begin,
                         int64_t end, int64_t row) {
    int64_t output = begin;
    for (; output + kSideRows <= end; output += kSideRows)
        product_tile<kSideRows, R>(linear, x, y, output, row);
    for (; output < end; ++output) product_tile<1, R>(linear, x, y, output, row);
}

// y[b][o] = weight[o] . x[b] + bias[o] for the outputs in [begin, end) and all of the batch.
inline void product(const Linear& linear, const Vectors& x, const Vectors& y, int64_t batch,
                    int64_t begin, int64_t end) {
    int64_t row = 0;
    for (; row + kSharedVectors <= batch; row += kSharedVectors)
        product_rows<kSharedVectors>(linear, x, y, begin, end, row);
    for (; row < batch; ++row) product_rows<1>(linear, x, y, begin, end, row);
}

}  // namespace mm_rec::MM_REC_ISA
