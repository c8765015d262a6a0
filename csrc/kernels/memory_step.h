// One token of one head of the long-term memory: write, then read, bank by bank.
#pragma once

#include "kernels/activations.h"
#include "kernels/simd.h"

namespace mm_rec::MM_REC_ISA {

// S = decay S + key value^T; read = S^T query. memory: [width, width], keys by values.
inline void write_and_read(float* memory, float decay, const float* key, const float* value,
                           const float* query, float* read, int64_t width) {
    for_vectors(0, width, [&](auto lanes, int64_t c) {
        constexpr int W = decltype(lanes)::value;
        const Float<W> written = load<W>(value + c);
        Float<W> total{};
        for (int64_t i = 0; i < width; ++i) {
            float* place = memory + i * width + c;
            const Float<W> kept = load<W>(place) * decay + written * key[i];
            store<W>(place, kept);
            total += kept * query[i];
        }
        store<W>(read + c, total);
    });
}

// Adds `weight` times the read, divided by its root mean square; a read far below one unit in
// sqrt(width) stays as small as it is.
inline void add_normalized(float* sum, const float* read, float weight, int64_t width) {
    float squares = 0;
    for (int64_t c = 0; c < width; ++c) squares += read[c] * read[c];
    const float mean = squares / static_cast<float>(width);
    const float scale = weight / __builtin_sqrtf(mean + static_cast<float>(width));
    for (int64_t c = 0; c < width; ++c) sum[c] += read[c] * scale;
}

}  // namespace mm_rec::MM_REC_ISA
