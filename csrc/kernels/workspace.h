// Memory that a kernel works in.
#pragma once

#include "kernels/blocks.h"

namespace mm_rec::MM_REC_ISA {

constexpr int64_t kCacheLine = 64;

// Memory of one call: what all threads share, and what each of them works in; all starts at cache
// lines.
class Workspace {
public:
    Workspace(int64_t shared, int64_t scratch, int64_t threads)
        : shared_(round_up(shared)),
          scratch_(round_up(scratch)),
          floats_(new float[shared_ + threads * scratch_ + kLineChannels]) {}
    ~Workspace() { delete[] floats_; }
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;

    float* shared() const {
        const auto address = reinterpret_cast<uintptr_t>(floats_) + kCacheLine - 1;
        return reinterpret_cast<float*>(address / kCacheLine * kCacheLine);
    }
    float* scratch(int thread) const { return shared() + shared_ + thread * scratch_; }

private:
    static int64_t round_up(int64_t floats) {
        return ceil_divide(floats, kLineChannels) * kLineChannels;
    }

    int64_t shared_;
    int64_t scratch_;
    float* floats_;
};

}  // namespace mm_rec::MM_REC_ISA
