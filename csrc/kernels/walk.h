// How a recurrence walks over [batch, time, channels]: vectors over channels, several in flight.
// Knows nothing of what a step computes. A step has
//   kReverse               whether it walks from the last step to the first
//   initial(c)             the state before the first step of channel c
//   advance<W>(h, t, c)    reads, computes and writes step t of W channels; returns the new state
//   map<W>(t, c)           the same step as h -> scale * h + shift, for parts of time
//   finish(c, h)           takes the state after the last step
#pragma once

#include "kernels/blocks.h"
#include "kernels/flush_to_zero.h"
#include "kernels/simd.h"

namespace mm_rec::MM_REC_ISA {

// Steps of one tile, walked for one group of channels after the other. Measured at [2, 8192, 512]
// on Zen 5: against 16, 64 steps are 1.05 times as fast in fp32 and 1.3 times in bf16; 1 and 4
// lose.
constexpr int64_t kTileSteps = 64;
// Vectors side by side: their chains of dependent operations overlap.
constexpr int kGroup = 8;

template <int W>
struct Affine {
    Float<W> scale;
    Float<W> shift;
};

// The states of a block's channels; of one more vector, where the width is no multiple of W. That
// vector overlaps the one before: it computes some channels twice, from states of its own.
struct BlockState {
    alignas(64) float whole[kBlockChannels + 2 * kLineChannels];
    alignas(64) float tail[kLineChannels];
};

template <class Step>
inline int64_t time_of(int64_t step, int64_t steps) {
    return Step::kReverse ? steps - 1 - step : step;
}

// Advances G vectors over the steps [first, last). `state` holds their channels, before and after.
template <int W, int G, class Step>
inline void walk_group(Step& step, float* state, int64_t channel, const Block& tile,
                       int64_t steps) {
    Step local = step;
    Float<W> h[G];
#pragma GCC unroll 8
    for (int g = 0; g < G; ++g) h[g] = load<W>(state + g * W);
    for (int64_t i = tile.first; i < tile.last; ++i) {
        const int64_t t = time_of<Step>(i, steps);
#pragma GCC unroll 8
        for (int g = 0; g < G; ++g) h[g] = local.template advance<W>(h[g], t, channel + g * W);
    }
#pragma GCC unroll 8
    for (int g = 0; g < G; ++g) store<W>(state + g * W, h[g]);
    step = local;
}

// Advances `count` vectors side by side, G at most.
template <int W, int G, class Step>
inline void walk_rest(Step& step, float* state, int64_t channel, const Block& tile, int64_t steps,
                      int64_t count) {
    if constexpr (G > 1) {
        if (count < G) return walk_rest<W, G - 1>(step, state, channel, tile, steps, count);
    }
    walk_group<W, G>(step, state, channel, tile, steps);
}

// Walks the vectors of a tile of steps, as many side by side as there are.
template <int W, class Step>
inline void walk_tile(Step& step, BlockState& state, const Block& tile, int64_t steps) {
    const int64_t whole = (tile.end - tile.begin) / W * W;
    int64_t c = 0;
    for (; c + kGroup * W <= whole; c += kGroup * W)
        walk_group<W, kGroup>(step, state.whole + c, tile.begin + c, tile, steps);
    for (; c + kGroup / 2 * W <= whole; c += kGroup / 2 * W)
        walk_group<W, kGroup / 2>(step, state.whole + c, tile.begin + c, tile, steps);
    // The rest side by side too: one after the other they took twice as long at width 112.
    if (whole > c)
        walk_rest<W, kGroup / 2 - 1>(step, state.whole + c, tile.begin + c, tile, steps,
                                     (whole - c) / W);
    if (tile.begin + whole < tile.end)
        walk_group<W, 1>(step, state.tail, tile.end - W, tile, steps);
}

// Walks a block from the states given.
template <int W, class Step>
void walk_block(Step& step, BlockState& state, const Block& block, int64_t steps) {
    const int64_t width = block.end - block.begin;
    if (width >= W)
        for (int64_t lane = 0; lane < W; ++lane) state.tail[lane] = state.whole[width - W + lane];
    Block tile = block;
    for (; tile.first < block.last; tile.first = tile.last) {
        tile.last = smaller(block.last, tile.first + kTileSteps);
        walk_tile<W>(step, state, tile, steps);
    }
    if (width % W != 0)
        for (int64_t lane = 0; lane < W; ++lane) state.whole[width - W + lane] = state.tail[lane];
}

// What a part of time does to a state: h -> scale * h + shift, a float of each for every channel.
// Kept from the first pass to the second.
class Summaries {
public:
    Summaries(const Extents& extents, int64_t parts)
        : channels_(extents.channels),
          parts_(parts),
          values_(parts > 1 ? new float[2 * extents.batch * parts * extents.channels] : nullptr) {}
    ~Summaries() { delete[] values_; }
    Summaries(const Summaries&) = delete;
    Summaries& operator=(const Summaries&) = delete;

    float* scale(const Block& block, int64_t part) const {
        return values_ + 2 * (block.batch * parts_ + part) * channels_;
    }
    float* shift(const Block& block, int64_t part) const { return scale(block, part) + channels_; }

private:
    int64_t channels_;
    int64_t parts_;
    float* values_;
};

// Composes the steps of a block for W channels into one map.
template <int W, class Step>
inline void summarize_vector(const Step& step, const Block& block, int64_t channel, int64_t steps,
                             const Summaries& summaries) {
    Float<W> scale = fill<W>(1.0f);
    Float<W> shift = fill<W>(0.0f);
    for (int64_t i = block.first; i < block.last; ++i) {
        const Affine<W> map = step.template map<W>(time_of<Step>(i, steps), channel);
        scale *= map.scale;
        shift = map.scale * shift + map.shift;
    }
    store<W>(summaries.scale(block, block.part) + channel, scale);
    store<W>(summaries.shift(block, block.part) + channel, shift);
}

template <class Step>
void summarize_block(const Step& step, const Block& block, int64_t steps,
                     const Summaries& summaries) {
    int64_t c = block.begin;
    for (; c + kLanes <= block.end; c += kLanes)
        summarize_vector<kLanes>(step, block, c, steps, summaries);
    for (; c < block.end; ++c) summarize_vector<1>(step, block, c, steps, summaries);
}

// The states before a block: the first ones, led through the parts of time before it.
template <class Step>
void start_block(const Step& step, BlockState& state, const Block& block,
                 const Summaries& summaries) {
    for (int64_t c = block.begin; c < block.end; ++c)
        state.whole[c - block.begin] = step.initial(c);
    for (int64_t part = 0; part < block.part; ++part) {
        const float* scale = summaries.scale(block, part);
        const float* shift = summaries.shift(block, part);
        for (int64_t c = block.begin; c < block.end; ++c)
            state.whole[c - block.begin] = scale[c] * state.whole[c - block.begin] + shift[c];
    }
}

// Walks one block from its start to its end.
template <class Step>
void run_block(Step& step, const Block& block, int64_t steps, const Summaries& summaries) {
    BlockState state;
    start_block(step, state, block, summaries);
    if (block.end - block.begin >= kLanes)
        walk_block<kLanes>(step, state, block, steps);
    else
        walk_block<1>(step, state, block, steps);
    if (block.last < steps) return;
    for (int64_t c = block.begin; c < block.end; ++c) step.finish(c, state.whole[c - block.begin]);
}

// Runs a recurrence: `make(batch)` gives the step of a batch row, `done(step)` takes it back when a
// block is walked. No barrier, but one where time is cut.
template <class Make, class Done>
void walk(const Call& call, Make make, Done done) {
    const Blocks blocks(call);
    const Summaries summaries(call.extents, blocks.parts());
    const int64_t count = blocks.count();
    const int64_t steps = call.extents.time;
#pragma omp parallel num_threads(blocks.threads()) if (blocks.threads() > 1)
    {
        const FlushToZero flush;
        if (blocks.parts() > 1) {
#pragma omp for schedule(static)
            for (int64_t index = 0; index < count; ++index) {
                const Block block = blocks[index];
                if (block.last < steps) summarize_block(make(block.batch), block, steps, summaries);
            }
        }
#pragma omp for schedule(static) nowait
        for (int64_t index = 0; index < count; ++index) {
            const Block block = blocks[index];
            auto step = make(block.batch);
            run_block(step, block, steps, summaries);
            done(step);
        }
        fence_streams();
    }
}

template <class Make>
void walk(const Call& call, Make make) {
    walk(call, make, [](const auto&) {});
}

}  // namespace mm_rec::MM_REC_ISA
