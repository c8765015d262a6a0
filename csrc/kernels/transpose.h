// Transposed copies of small matrices.
#pragma once

#include "kernels/simd.h"

namespace mm_rec::MM_REC_ISA {

// Exchanges the blocks of kSpan x kSpan beside the diagonal of each block of twice that size.
template <int kSpan>
inline void exchange_blocks(Float<kLanes> (&rows)[kLanes]) {
    constexpr int W = kLanes;
    Int<W> upper, lower;
    for (int lane = 0; lane < W; ++lane) {
        upper[lane] = lane & kSpan ? W + lane - kSpan : lane;
        lower[lane] = lane & kSpan ? W + lane : lane + kSpan;
    }
#pragma GCC unroll 16
    for (int r = 0; r < W; ++r) {
        if (r & kSpan) continue;
        const Float<W> first = rows[r], second = rows[r + kSpan];
#if defined(__clang__)
        for (int lane = 0; lane < W; ++lane) {
            rows[r][lane] = lane & kSpan ? second[lane - kSpan] : first[lane];
            rows[r + kSpan][lane] = lane & kSpan ? second[lane] : first[lane + kSpan];
        }
#else
        rows[r] = __builtin_shuffle(first, second, upper);
        rows[r + kSpan] = __builtin_shuffle(first, second, lower);
#endif
    }
}

// to[c, r] = from[r, c]; rows and columns are multiples of kLanes.
inline void transpose(const float* from, int64_t from_stride, int64_t rows, int64_t columns,
                      float* to, int64_t to_stride) {
    constexpr int W = kLanes;
    for (int64_t row = 0; row < rows; row += W)
        for (int64_t column = 0; column < columns; column += W) {
            Float<W> block[W];
#pragma GCC unroll 16
            for (int r = 0; r < W; ++r) block[r] = load<W>(from + (row + r) * from_stride + column);
            if constexpr (W > 8) exchange_blocks<8>(block);
            if constexpr (W > 4) exchange_blocks<4>(block);
            exchange_blocks<2>(block);
            exchange_blocks<1>(block);
#pragma GCC unroll 16
            for (int r = 0; r < W; ++r) store<W>(to + (column + r) * to_stride + row, block[r]);
        }
}

}  // namespace mm_rec::MM_REC_ISA
