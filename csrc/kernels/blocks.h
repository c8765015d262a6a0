// How [batch, time, channels] is cut into parts that threads work on alone.
#pragma once

#include "kernels.h"

namespace mm_rec::MM_REC_ISA {

// Channels of one block, at most: the state of a block stays in the first-level cache.
constexpr int64_t kBlockChannels = 2048;
// A cache line of floats: threads that share one would slow each other.
constexpr int64_t kLineChannels = 16;
// Elements that are worth a thread: below this, waking it costs more than it saves.
constexpr int64_t kThreadElements = 32 * 1024;
// Steps that are worth a part of time of their own.
constexpr int64_t kPartSteps = 256;

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A part of the work that one thread does alone: some channels of one batch row, over all of time
// or one part of it. Steps count in walking order.
struct Block {
    int64_t batch;
    int64_t begin;  // first channel
    int64_t end;    // one past the last channel
    int64_t part;   // index among the parts of time
    int64_t first;  // first step
    int64_t last;   // one past the last step
};

// Blocks are as wide as keeps every thread busy; time is cut only where threads would idle even
// with the narrowest ones, because it costs a second pass over the inputs.
class Blocks {
public:
    explicit Blocks(const Call& call) : extents_(call.extents) {
        const int64_t channels = extents_.channels;
        const int64_t elements = extents_.batch * extents_.time * channels;
        threads_ = smaller(call.threads, 1 + elements / kThreadElements);
        const int64_t finest = ceil_divide(channels, kLineChannels);
        int64_t columns = ceil_divide(channels, kBlockChannels);
        while (columns < finest && !balanced(extents_.batch * columns)) ++columns;
        width_ = ceil_divide(ceil_divide(channels, columns), kLineChannels) * kLineChannels;
        columns_ = ceil_divide(channels, width_);
        // A last block narrower than a vector would be walked channel by channel.
        if (columns_ > 1 && channels - (columns_ - 1) * width_ < kLineChannels) --columns_;
        // Below a factor of two the second pass eats what the extra threads bring.
        const int64_t idle_factor = threads_ / (extents_.batch * columns_);
        parts_ = idle_factor < 2 ? 1 : smaller(idle_factor, 1 + extents_.time / kPartSteps);
        threads_ = smaller(threads_, count());
    }

    int64_t count() const { return extents_.batch * columns_ * parts_; }
    int64_t parts() const { return parts_; }
    int threads() const { return static_cast<int>(threads_); }

    Block operator[](int64_t index) const {
        const int64_t part = index % parts_;
        const int64_t column = index / parts_ % columns_;
        const int64_t end = column == columns_ - 1 ? extents_.channels : (column + 1) * width_;
        return {index / parts_ / columns_,
                column * width_,
                end,
                part,
                extents_.time * part / parts_,
                extents_.time * (part + 1) / parts_};
    }

private:
    bool balanced(int64_t blocks) const { return blocks % threads_ == 0 || blocks >= 4 * threads_; }

    Extents extents_;
    int64_t threads_;
    int64_t width_;
    int64_t columns_;
    int64_t parts_;
};

}  // namespace mm_rec::MM_REC_ISA
