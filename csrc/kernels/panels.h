// Products of a few rows with a matrix that is packed into panels: a panel holds kPanelVectors
// vectors of outputs, and is read from its first byte to its last for every product.
#pragma once

#include "kernels/simd.h"

namespace mm_rec::MM_REC_ISA {

// Rows times vectors in flight, and the vectors of one panel, must fit into the registers.
constexpr int kPanelVectors = kLanes == 16 ? 4 : 2;
constexpr int kMostRows = kLanes == 4 ? 4 : 6;

// Adds to (or, without kAdd, writes) out[r, :] = x[r, :] @ panel, for R rows and V vectors.
// x: [R, depth], rows x_stride apart; panel: [depth, V * kLanes]; out: rows out_stride apart.
template <int R, int V, bool kAdd>
inline void multiply_panel(const float* x, int64_t x_stride, const float* panel, int64_t depth,
                           float* out, int64_t out_stride) {
    Float<kLanes> sum[R][V] = {};
    for (int64_t k = 0; k < depth; ++k, panel += V * kLanes) {
        Float<kLanes> column[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) column[v] = load<kLanes>(panel + v * kLanes);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) sum[r][v] += x[r * x_stride + k] * column[v];
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
            float* place = out + r * out_stride + v * kLanes;
            store<kLanes>(place, kAdd ? load<kLanes>(place) + sum[r][v] : sum[r][v]);
        }
    }
}

}  // namespace mm_rec::MM_REC_ISA
