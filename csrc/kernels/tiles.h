// Products of small matrices that lie in the caches, a tile of rows at a time.
#pragma once

#include "kernels/simd.h"

namespace mm_rec::MM_REC_ISA {

// Rows of a tile, and vectors of it at most: its sums, a row of the right factor and one number of
// the left one fit into the registers. Rows divide a vector.
constexpr int kTileRows = kLanes == 16 ? 8 : 4;
constexpr int kTileVectors = 2;

template <int V>
struct Panel {
    static constexpr int value = V;
};

// Calls body(Panel<V>, column) for columns in [begin, end), V vectors at a time.
template <class Body>
inline void for_panels(int64_t begin, int64_t end, Body body) {
    int64_t column = begin;
    for (; column + kTileVectors * kLanes <= end; column += kTileVectors * kLanes)
        body(Panel<kTileVectors>{}, column);
    for (; column < end; column += kLanes) body(Panel<1>{}, column);
}

// The left factor of a product, rows or columns of it contiguous.
struct Rows {
    const float* data;
    int64_t stride;

    float operator()(int64_t row, int64_t k) const { return data[row * stride + k]; }
};
struct Columns {
    const float* data;
    int64_t stride;

    float operator()(int64_t row, int64_t k) const { return data[k * stride + row]; }
};

// kTileRows rows of V vectors.
template <int V>
using Tile = Float<kLanes>[kTileRows][V];

// tile += left [kTileRows, depth] @ right [depth, V vectors].
template <int V, class Left>
inline void add_product(Tile<V>& tile, const Left& left, const float* right, int64_t right_stride,
                        int64_t depth) {
    // Sums of its own: the compiler would store the tile's after every addition.
    Tile<V> sums;
    __builtin_memcpy(sums, tile, sizeof(sums));
    for (int64_t k = 0; k < depth; ++k, right += right_stride) {
        Float<kLanes> row[V];
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) row[v] = load<kLanes>(right + v * kLanes);
#pragma GCC unroll 8
        for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 2
            for (int v = 0; v < V; ++v) sums[r][v] += left(r, k) * row[v];
        }
    }
    __builtin_memcpy(tile, sums, sizeof(sums));
}

// Multiplies each row with a number of its own.
template <int V>
inline void scale_rows(Tile<V>& tile, const float* factors) {
#pragma GCC unroll 8
    for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) tile[r][v] *= factors[r];
    }
}

// out = tile, or with kAdds out += tile.
template <bool kAdds, int V>
inline void store_tile(float* out, int64_t stride, const Tile<V>& tile) {
#pragma GCC unroll 8
    for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) {
            float* place = out + r * stride + v * kLanes;
            store<kLanes>(place, kAdds ? load<kLanes>(place) + tile[r][v] : tile[r][v]);
        }
    }
}

// out = factor * out + tile.
template <int V>
inline void fade_and_add(float* out, int64_t stride, float factor, const Tile<V>& tile) {
#pragma GCC unroll 8
    for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) {
            float* place = out + r * stride + v * kLanes;
            store<kLanes>(place, load<kLanes>(place) * factor + tile[r][v]);
        }
    }
}

}  // namespace mm_rec::MM_REC_ISA
