// What the chunked matrix memory takes and gives. Knows neither Python nor SIMD.
#pragma once

#include "kernels.h"

namespace mm_rec {

// One sequence for each bank; stride in elements.
struct Banks {
    Sequence first;
    int64_t bank_stride = 0;
};

// Channels hold the heads side by side. The write key of step t is sigmoid(priority[t]) * key[t-1].
struct MemoryInputs {
    int64_t heads;
    int64_t banks;
    const double* time_scales;  // [banks], in steps; decay = exp(-1 / time scale)
    const int64_t* lengths;     // [batch], steps that count, which come first; null: all
    Sequence query;
    Sequence priority;
    Sequence key;
    Sequence value;
    State first_key;      // the key before the first step
    const float* memory;  // [batch, banks, heads, width, width], keys by values, contiguous
};

// S[t] = decay S[t-1] + write_key[t] value[t]^T; read[t] = S[t]^T query[t], of which the reads are
// read / sqrt(mean(read^2) + width). Zeros behind the steps that count.
struct ChunkedMemory : Call {
    MemoryInputs inputs;
    Banks reads;
    float* rstd;         // [batch, banks, heads, time]: 1 / sqrt(mean(read^2) + width)
    float* memory_last;  // as the memory
};

struct ChunkedMemoryBackward : Call {
    MemoryInputs inputs;
    Banks reads;
    const float* rstd;
    Banks reads_gradient;
    const float* memory_last_gradient;  // null: zeros
    Sequence query_gradient;
    Sequence priority_gradient;
    Sequence key_gradient;
    Sequence value_gradient;
    State first_key_gradient;
    float* memory_gradient;
};

}  // namespace mm_rec
