// How a recurrence walks over [batch, time, channels]: vectors over channels, several in flight,
// threads over batch x channel blocks, no barrier. Knows nothing of what a step computes.
#pragma once

#include "kernels.h"
#include "kernels/flush_to_zero.h"
#include "kernels/simd.h"

namespace mm_rec::MM_REC_ISA {

// Channels of one block, at most: the state of a block stays in the first-level cache.
constexpr int64_t kBlockChannels = 2048;
// A cache line of floats: threads that share one would slow each other.
constexpr int64_t kLineChannels = 16;
// Elements that are worth a thread: below this, waking it costs more than it saves.
constexpr int64_t kThreadElements = 32 * 1024;
// Steps of one tile: its rows stay in the first-level cache while the channels are walked.
constexpr int64_t kTileSteps = 4;

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A part of the work that one thread does alone.
struct Block {
    int64_t batch;
    int64_t begin;  // first channel
    int64_t end;    // one past the last channel
};

// Cuts the work into blocks: as wide as possible, but enough to keep every thread busy.
class Blocks {
public:
    Blocks(const Extents& extents, int threads) : extents_(extents) {
        const int64_t elements = extents.batch * extents.time * extents.channels;
        threads_ = smaller(threads, 1 + elements / kThreadElements);
        const int64_t finest = 1 + (extents.channels - 1) / kLineChannels;
        int64_t per_row = ceil_divide(extents.channels, kBlockChannels);
        while (per_row < finest && !balanced(extents.batch * per_row)) ++per_row;
        width_ = ceil_divide(ceil_divide(extents.channels, per_row), kLineChannels) * kLineChannels;
        per_row_ = ceil_divide(extents.channels, width_);
        // A last block narrower than a vector would be walked channel by channel.
        if (per_row_ > 1 && extents.channels - (per_row_ - 1) * width_ < kLineChannels) --per_row_;
        threads_ = smaller(threads_, count());
    }

    int64_t count() const { return extents_.batch * per_row_; }
    int threads() const { return static_cast<int>(threads_); }
    Block operator[](int64_t index) const {
        const int64_t column = index % per_row_;
        const int64_t end = column == per_row_ - 1 ? extents_.channels : (column + 1) * width_;
        return {index / per_row_, column * width_, end};
    }

private:
    bool balanced(int64_t blocks) const { return blocks % threads_ == 0 || blocks >= 4 * threads_; }

    Extents extents_;
    int64_t threads_;
    int64_t width_;
    int64_t per_row_;
};

// Advances G vectors side by side over the steps [first, last): their chains of dependent
// operations overlap. `state` holds the G * W channels before and after.
template <int W, int G, class Step>
inline void walk_group(Step& step, float* state, int64_t channel, int64_t first, int64_t last) {
    Step local = step;
    Float<W> h[G];
#pragma GCC unroll 8
    for (int g = 0; g < G; ++g) h[g] = load<W>(state + g * W);
    for (int64_t t = first; t < last; ++t) {
#pragma GCC unroll 8
        for (int g = 0; g < G; ++g) h[g] = local.template advance<W>(h[g], t, channel + g * W);
    }
#pragma GCC unroll 8
    for (int g = 0; g < G; ++g) store<W>(state + g * W, h[g]);
    step = local;
}

// Walks one block over all of time. The last vector of a width that is no multiple of W overlaps
// the one before: it computes some channels twice, from a state of its own (`tail`).
template <int W, class Step>
void walk_block(Step& step, const Block& block, int64_t steps) {
    alignas(64) float state[kBlockChannels + 2 * kLineChannels];
    alignas(64) float tail[kLineChannels];
    const int64_t width = block.end - block.begin;
    const int64_t whole = width / W * W;
    for (int64_t c = 0; c < whole; ++c) state[c] = step.initial(block.begin + c);
    for (int64_t c = 0; c < W; ++c) tail[c] = step.initial(block.end - W + c);
    for (int64_t first = 0; first < steps; first += kTileSteps) {
        const int64_t last = smaller(steps, first + kTileSteps);
        int64_t c = 0;
        for (; c + 8 * W <= whole; c += 8 * W)
            walk_group<W, 8>(step, state + c, block.begin + c, first, last);
        for (; c + 4 * W <= whole; c += 4 * W)
            walk_group<W, 4>(step, state + c, block.begin + c, first, last);
        for (; c + W <= whole; c += W)
            walk_group<W, 1>(step, state + c, block.begin + c, first, last);
        if (whole < width) walk_group<W, 1>(step, tail, block.end - W, first, last);
    }
}

// Runs `run(block)` for every block, with denormals flushed in every thread.
template <class Run>
void for_each_block(const Blocks& blocks, Run run) {
    const int64_t count = blocks.count();
#pragma omp parallel num_threads(blocks.threads()) if (blocks.threads() > 1)
    {
        const FlushToZero flush;
#pragma omp for schedule(static)
        for (int64_t index = 0; index < count; ++index) run(blocks[index]);
    }
}

}  // namespace mm_rec::MM_REC_ISA
