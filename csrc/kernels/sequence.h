// Sequences as a step sees them: one batch row, read and written a vector at a time.
#pragma once

#include "kernels.h"
#include "kernels/blocks.h"
#include "kernels/simd.h"

namespace mm_rec::MM_REC_ISA {

// Bytes that a call moves from which its results go past the caches: they would not stay there, and
// a plain store reads each line first. Measured: 1.2 to 1.5 times faster from here, slower below.
constexpr int64_t kStreamBytes = 24 * 1024 * 1024;

// How values are stored, and whether results go past the caches.
template <class T, bool kStreams>
struct Format {
    using Value = T;
    static constexpr bool kStream = kStreams;
};

// One batch row of an input.
template <class Format>
struct InputRow {
    const typename Format::Value* data;
    int64_t stride;

    InputRow(const Sequence& sequence, int64_t batch)
        : data(static_cast<const typename Format::Value*>(sequence.data) +
               batch * sequence.batch_stride),
          stride(sequence.time_stride) {}

    template <int W>
    Float<W> get(int64_t t, int64_t channel) const {
        return load<W>(data + t * stride + channel);
    }
};

// One batch row of a result.
template <class Format>
struct OutputRow {
    typename Format::Value* data;
    int64_t stride;

    OutputRow(const Sequence& sequence, int64_t batch)
        : data(static_cast<typename Format::Value*>(sequence.data) + batch * sequence.batch_stride),
          stride(sequence.time_stride) {}

    template <int W>
    void put(int64_t t, int64_t channel, Float<W> value) const {
        // A lone channel is never aligned to what a streaming store needs.
        if constexpr (Format::kStream && W == kLanes)
            stream<W>(data + t * stride + channel, value);
        else
            store<W>(data + t * stride + channel, value);
    }
};

// One batch row of a state; null stays null.
inline State state_row(State state, const Extents& extents, int64_t batch) {
    return state ? state + batch * extents.channels : nullptr;
}

inline int64_t value_bytes(const Call& call) { return call.storage == Storage::fp32 ? 4 : 2; }

// Whether streaming stores can write a result: every vector of it starts at a multiple of its size.
inline bool is_aligned(const Call& call, const Sequence& result) {
    const int64_t bytes = value_bytes(call);
    const int64_t line = kLineChannels * bytes;
    return reinterpret_cast<intptr_t>(result.data) % line == 0 &&
           result.batch_stride * bytes % line == 0 && result.time_stride * bytes % line == 0 &&
           call.extents.channels % kLineChannels == 0;
}

// Whether results go past the caches: a large call, and `results` that allow it.
template <class... Results>
bool worth_streaming(const Call& call, int64_t sequences, const Results&... results) {
    const Extents& all = call.extents;
    const int64_t moved = all.batch * all.time * all.channels * value_bytes(call) * sequences;
    return moved >= kStreamBytes && (is_aligned(call, results) && ...);
}

// Calls `run` with the Format of a call.
template <class Run>
auto with_format(const Call& call, bool streams, Run run) {
    if (call.storage == Storage::fp32)
        return streams ? run(Format<float, true>{}) : run(Format<float, false>{});
    return streams ? run(Format<bf16, true>{}) : run(Format<bf16, false>{});
}

}  // namespace mm_rec::MM_REC_ISA
