// What the kernels take and give, whatever the instruction set. Knows neither Python nor SIMD.
#pragma once

#include <cstdint>

namespace mm_rec {

enum class Storage { fp32, bf16 };

// Extents of a sequence: [batch, time, channels], channels contiguous.
struct Extents {
    int64_t batch;
    int64_t time;
    int64_t channels;
};

// One [batch, time, channels] array; strides in elements.
struct Sequence {
    void* data = nullptr;
    int64_t batch_stride = 0;
    int64_t time_stride = 0;
};

// product[t] = gamma[1] * ... * gamma[t].
struct CumulativeProduct {
    Extents extents;
    Storage storage;
    Sequence gamma;
    Sequence product;
    int threads;
};

// The entry points of one instruction set.
struct Kernels {
    // Returns whether every gamma lies in (0, 1].
    bool (*cumulative_product)(const CumulativeProduct&);
};

namespace portable {
extern const Kernels kernels;
}
#ifdef MM_REC_X86
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}
#endif

}  // namespace mm_rec
