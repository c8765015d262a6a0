// How a kernel runs over rows: threads over parts of them, vectors over channels, sums over rows.
#pragma once

#include "kernels/activations.h"
#include "kernels/blocks.h"
#include "kernels/flush_to_zero.h"
#include "kernels/simd.h"
#include "row_kernels.h"

namespace mm_rec::MM_REC_ISA {

template <class T>
inline T* row_of(const Matrix& matrix, int64_t row) {
    return static_cast<T*>(matrix.data) + row * matrix.row_stride;
}

template <int W>
inline float sum_of(Float<W> value) {
    float sum = 0.0f;
    for (int lane = 0; lane < W; ++lane) sum += value[lane];
    return sum;
}

// Sum over channels of body(Lanes<W>, c), a vector of W.
template <class Body>
inline float sum_over_channels(int64_t channels, Body body) {
    Float<kLanes> sums = fill<kLanes>(0.0f);
    float rest = 0.0f;
    for_vectors(0, channels, [&](auto lanes, int64_t c) {
        if constexpr (decltype(lanes)::value == kLanes)
            sums += body(lanes, c);
        else
            rest += sum_of<decltype(lanes)::value>(body(lanes, c));
    });
    return sum_of<kLanes>(sums) + rest;
}

inline int64_t threads_for(const RowCall& call) {
    const int64_t worth = 1 + call.rows * call.channels / kThreadElements;
    return smaller(smaller(call.threads, worth), call.rows);
}

// Calls body(row) for every row.
template <class Body>
void for_rows(const RowCall& call, Body body) {
    const int64_t threads = threads_for(call);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        const FlushToZero flush;
#pragma omp for schedule(static) nowait
        for (int64_t row = 0; row < call.rows; ++row) body(row);
    }
}

// Calls body(row, partial) for every row; a thread adds what a channel's sum needs to its own
// `partial`, [channels]. The sums of the parts are added in order: equal threads, equal results.
template <class Body>
void sum_over_rows(const RowCall& call, float* sums, Body body) {
    const int64_t parts = threads_for(call);
    const int64_t width = ceil_divide(call.channels, kLineChannels) * kLineChannels;
    float* partials = new float[parts * width]();
#pragma omp parallel for schedule(static) num_threads(parts) if (parts > 1)
    for (int64_t part = 0; part < parts; ++part) {
        const FlushToZero flush;
        const int64_t last = call.rows * (part + 1) / parts;
        for (int64_t row = call.rows * part / parts; row < last; ++row)
            body(row, partials + part * width);
    }
    for (int64_t c = 0; c < call.channels; ++c) {
        sums[c] = partials[c];
        for (int64_t part = 1; part < parts; ++part) sums[c] += partials[part * width + c];
    }
    delete[] partials;
}

// Calls run(T{}) with the type that values are stored in.
template <class Run>
void with_storage(Storage storage, Run run) {
    if (storage == Storage::fp32)
        run(float{});
    else
        run(bf16{});
}

}  // namespace mm_rec::MM_REC_ISA
