// The recurrence whose gates see the state: two products with the state at every step. Each thread
// leads a few rows through all of time on its own, so that the weights stream from its second-level
// cache and every vector of them serves all its rows. Rows are never shared: threads that meet at
// every step lose a time slice whenever another process holds one of their cores.
#include <omp.h>

#include "kernels/blocks.h"
#include "kernels/entry_points.h"
#include "kernels/flush_to_zero.h"
#include "kernels/gates.h"
#include "kernels/panels.h"
#include "kernels/sequence.h"
#include "kernels/span.h"
#include "kernels/workspace.h"

namespace mm_rec::MM_REC_ISA {
namespace {

constexpr int W = kLanes;
// A forward panel holds both gates of these channels.
constexpr int kPairVectors = kPanelVectors / 2;
constexpr int64_t kPairChannels = kPairVectors * W;
constexpr int64_t kPanelWidth = kPanelVectors * W;
// Multiplications that are worth a thread.
constexpr int64_t kThreadProducts = 1 << 20;

inline int64_t pad(int64_t channels) {
    return ceil_divide(channels, kPairChannels) * kPairChannels;
}

template <class T>
inline Float<W> get(const Sequence& sequence, int64_t row, int64_t t, const Span& span) {
    return load_span(row_at<const T>(sequence, row, t), span);
}

template <class T>
inline void put(const Sequence& sequence, int64_t row, int64_t t, const Span& span,
                Float<W> value) {
    store_span(row_at<T>(sequence, row, t), span, value);
}

inline bool is_padding(const GateInputs& inputs, const Extents& extents, int64_t row, int64_t t) {
    return inputs.is_padding && inputs.is_padding[row * extents.time + t];
}

// Asks for some channels of one step ahead of time, while the processor multiplies. Past the end of
// an array it asks for what nobody reads.
template <int64_t kChannels, class T>
inline void prefetch_channels(const Sequence& sequence, int64_t row, int64_t t, int64_t channel) {
    const T* from = row_at<const T>(sequence, row, t) + channel;
    constexpr int64_t kLine = kCacheLine / sizeof(T);
    for (int64_t c = 0; c < kChannels; c += kLine) __builtin_prefetch(from + c, 0, 2);
}

inline void zero(float* values, int64_t count) {
    for (int64_t n = 0; n < count; ++n) values[n] = 0;
}

// One panel of a pair: [channels of h, {input gate, MDI} x kPairChannels].
void pack_pair(const GateWeights& weights, int64_t channels, int64_t first, float* panel) {
    zero(panel, pad(channels) * kPanelWidth);
    for (int64_t n = 0; n < kPairChannels && first + n < channels; ++n)
        for (int64_t k = 0; k < channels; ++k) {
            panel[k * kPanelWidth + n] = weights.input_gate[(first + n) * channels + k];
            panel[k * kPanelWidth + kPairChannels + n] = weights.mdi[(first + n) * channels + k];
        }
}

// Some channels of h for the way back: [channels of both gates, width].
void pack_channels(const GateWeights& weights, int64_t channels, int64_t first, int64_t width,
                   float* panel) {
    const int64_t padded = pad(channels);
    zero(panel, 2 * padded * width);
    for (int64_t k = 0; k < channels; ++k)
        for (int64_t n = 0; n < width && first + n < channels; ++n) {
            panel[k * width + n] = weights.input_gate[k * channels + first + n];
            panel[(padded + k) * width + n] = weights.mdi[k * channels + first + n];
        }
}

// Some rows, and where the thread that leads them works.
struct Tile {
    int64_t first_row;
    int64_t rows;
    float* scratch;
};

template <class T>
class Forward {
public:
    Forward(const ExactRecurrence& call, const float* packed) : call_(call), packed_(packed) {}

    static int64_t scratch_floats(int64_t channels) { return 2 * kMostRows * pad(channels); }

    static void pack(const GateWeights& weights, int64_t channels, int64_t first, int64_t last,
                     float* packed) {
        for (int64_t pair = first; pair < last; pair += kPairChannels)
            pack_pair(weights, channels, pair, packed + pair * 2 * pad(channels));
    }

    template <int R>
    void run(const Tile& tile) const {
        const int64_t channels = call_.extents.channels;
        const int64_t padded = pad(channels);
        float* now = tile.scratch;
        float* next = tile.scratch + kMostRows * padded;
        start<R>(tile, now, next);
        for (int64_t t = 0; t < call_.extents.time; ++t) {
            for (int64_t pair = 0; pair < padded; pair += kPairChannels) {
                alignas(64) float logits[R * kPanelWidth];
                for (int r = 0; r < R; ++r)
                    prefetch(tile.first_row + r, t + 1 < call_.extents.time ? t + 1 : t, pair);
                multiply_panel<R, kPanelVectors, false>(now, padded, packed_ + pair * 2 * padded,
                                                        padded, logits, kPanelWidth);
                for (int r = 0; r < R; ++r)
                    for (int64_t c = 0; c < kPairChannels && pair + c < channels; c += W)
                        step(tile.first_row + r, t, {pair + c, channels - pair - c},
                             logits + r * kPanelWidth + c, now + r * padded, next + r * padded);
            }
            float* const swapped = now;
            now = next;
            next = swapped;
        }
        finish<R>(tile, now);
    }

private:
    template <int R>
    void start(const Tile& tile, float* now, float* next) const {
        const int64_t channels = call_.extents.channels;
        const int64_t padded = pad(channels);
        for (int r = 0; r < R; ++r) {
            const float* h0 = state_row(call_.h0, call_.extents, tile.first_row + r);
            for (int64_t c = 0; c < padded; ++c) {
                now[r * padded + c] = h0 && c < channels ? h0[c] : 0;
                next[r * padded + c] = 0;
            }
        }
    }

    template <int R>
    void finish(const Tile& tile, const float* now) const {
        const int64_t channels = call_.extents.channels;
        for (int r = 0; r < R; ++r) {
            float* h_last = state_row(call_.h_last, call_.extents, tile.first_row + r);
            for (int64_t c = 0; c < channels; ++c) h_last[c] = now[r * pad(channels) + c];
        }
    }

    void prefetch(int64_t row, int64_t t, int64_t channel) const {
        const GateInputs& inputs = call_.inputs;
        const Sequence* const read[] = {&inputs.gamma, &inputs.context, &inputs.mdi, &inputs.z};
        for (const Sequence* sequence : read)
            prefetch_channels<kPairChannels, T>(*sequence, row, t, channel);
    }

    void step(int64_t row, int64_t t, const Span& span, const float* from_state, const float* now,
              float* next) const {
        Float<W> h = load<W>(now + span.channel);
        const GateInputs& inputs = call_.inputs;
        GateValues<W> values{};
        if (!is_padding(inputs, call_.extents, row, t)) {
            values.gamma = get<T>(inputs.gamma, row, t, span);
            values.context = get<T>(inputs.context, row, t, span);
            values.z = get<T>(inputs.z, row, t, span);
            values.input_gate =
                load<W>(from_state) + load_span(call_.weights.input_gate_bias, span);
            values.mdi = load<W>(from_state + kPairChannels) + get<T>(inputs.mdi, row, t, span);
            h = Update<W>(values).apply(h);
        }
        if (call_.input_gate_logit.data) {
            put<T>(call_.input_gate_logit, row, t, span, values.input_gate);
            put<T>(call_.mdi_logit, row, t, span, values.mdi);
        }
        put<T>(call_.h, row, t, span, h);
        store_span(next, span, h);
    }

    const ExactRecurrence& call_;
    const float* packed_;
};

template <class T>
class Backward {
public:
    Backward(const ExactRecurrenceBackward& call, const float* packed)
        : call_(call), packed_(packed) {}

    // Gradients of both gates, and what is carried back to the step before.
    static int64_t scratch_floats(int64_t channels) { return 3 * kMostRows * pad(channels); }

    static void pack(const GateWeights& weights, int64_t channels, int64_t first, int64_t last,
                     float* packed) {
        pack_channels(weights, channels, first, last - first, packed + first * 2 * pad(channels));
    }

    template <int R>
    void run(const Tile& tile) const {
        const int64_t channels = call_.extents.channels;
        const int64_t padded = pad(channels);
        float* const gates = tile.scratch;
        float* const carried = gates + 2 * kMostRows * padded;
        start<R>(tile, gates, carried);
        for (int64_t t = call_.extents.time - 1; t >= 0; --t) {
            for (int r = 0; r < R; ++r)
                for (int64_t c = 0; c < channels; c += W)
                    step(tile.first_row + r, t, {c, channels - c}, gates + 2 * r * padded,
                         carried + r * padded);
            for (int64_t c = 0; c < padded; c += kPanelWidth) {
                for (int r = 0; r < R; ++r) prefetch(tile.first_row + r, t > 0 ? t - 1 : 0, c);
                const float* panel = packed_ + c * 2 * padded;
                const int64_t depth = 2 * padded;
                if (padded - c >= kPanelWidth)
                    multiply_panel<R, kPanelVectors, true>(gates, depth, panel, depth, carried + c,
                                                           padded);
                else
                    multiply_panel<R, kPairVectors, true>(gates, depth, panel, depth, carried + c,
                                                          padded);
            }
        }
        finish<R>(tile, carried);
    }

private:
    template <int R>
    void start(const Tile& tile, float* gates, float* carried) const {
        const int64_t channels = call_.extents.channels;
        const int64_t padded = pad(channels);
        for (int r = 0; r < R; ++r) {
            const float* last = state_row(call_.h_last_gradient, call_.extents, tile.first_row + r);
            for (int64_t c = 0; c < padded; ++c) {
                carried[r * padded + c] = last && c < channels ? last[c] : 0;
                gates[2 * r * padded + c] = gates[(2 * r + 1) * padded + c] = 0;
            }
        }
    }

    template <int R>
    void finish(const Tile& tile, const float* carried) const {
        const int64_t channels = call_.extents.channels;
        for (int r = 0; r < R; ++r) {
            float* gradient = state_row(call_.h0_gradient, call_.extents, tile.first_row + r);
            for (int64_t c = 0; c < channels; ++c) gradient[c] = carried[r * pad(channels) + c];
        }
    }

    void prefetch(int64_t row, int64_t t, int64_t channel) const {
        const GateInputs& inputs = call_.inputs;
        const Sequence* const read[] = {&inputs.gamma, &inputs.context, &inputs.input_gate,
                                        &inputs.mdi,   &inputs.z,       &call_.h_gradient};
        for (const Sequence* sequence : read)
            prefetch_channels<kPanelWidth, T>(*sequence, row, t, channel);
        if (t > 0) prefetch_channels<kPanelWidth, T>(call_.h, row, t - 1, channel);
    }

    void step(int64_t row, int64_t t, const Span& span, float* gates, float* carried) const {
        Float<W> gradient =
            get<T>(call_.h_gradient, row, t, span) + load<W>(carried + span.channel);
        GateValues<W> gradients{};
        const GateInputs& inputs = call_.inputs;
        if (!is_padding(inputs, call_.extents, row, t)) {
            const Gates<W> opened(GateValues<W>{
                get<T>(inputs.gamma, row, t, span), get<T>(inputs.context, row, t, span),
                get<T>(inputs.input_gate, row, t, span), get<T>(inputs.mdi, row, t, span),
                get<T>(inputs.z, row, t, span)});
            gradients = opened.gradients(gradient, before(row, t, span));
            gradient = opened.carry(gradient);
        }
        put<T>(call_.gradients.gamma, row, t, span, gradients.gamma);
        put<T>(call_.gradients.context, row, t, span, gradients.context);
        put<T>(call_.gradients.input_gate, row, t, span, gradients.input_gate);
        put<T>(call_.gradients.mdi, row, t, span, gradients.mdi);
        put<T>(call_.gradients.z, row, t, span, gradients.z);
        store_span(gates, span, gradients.input_gate);
        store_span(gates + pad(call_.extents.channels), span, gradients.mdi);
        store_span(carried, span, gradient);
    }

    Float<W> before(int64_t row, int64_t t, const Span& span) const {
        if (t > 0) return get<T>(call_.h, row, t - 1, span);
        const float* h0 = state_row(call_.h0, call_.extents, row);
        return h0 ? load_span(h0, span) : fill<W>(0.0f);
    }

    const ExactRecurrenceBackward& call_;
    const float* packed_;
};

// Runs a pass with its number of rows as a constant.
template <int R, class Pass>
inline void run_tile(const Pass& pass, const Tile& tile) {
    if constexpr (R > 1)
        if (tile.rows < R) return run_tile<R - 1>(pass, tile);
    pass.template run<R>(tile);
}

// Packs the weights, then leads all rows through time.
template <class Pass, class ExactCall>
void run(const ExactCall& call) {
    const auto [batch, steps, channels] = call.extents;
    const int64_t padded = pad(channels);
    const int64_t products = batch * steps * padded * padded;
    const int threads =
        static_cast<int>(smaller(smaller(call.threads, batch), 1 + products / kThreadProducts));
    // As many tiles for each thread as for any other, where there are rows enough.
    const int64_t rounds = ceil_divide(ceil_divide(batch, kMostRows), threads);
    const int64_t tiles = smaller(batch, rounds * threads);
    const Workspace workspace(2 * padded * padded, Pass::scratch_floats(channels), threads);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        const FlushToZero flush;
#pragma omp for schedule(static)
        for (int64_t first = 0; first < padded; first += kPanelWidth)
            Pass::pack(call.weights, channels, first, smaller(padded, first + kPanelWidth),
                       workspace.shared());
        const Pass pass(call, workspace.shared());
#pragma omp for schedule(static) nowait
        for (int64_t index = 0; index < tiles; ++index) {
            const int64_t first = batch * index / tiles;
            const int64_t last = batch * (index + 1) / tiles;
            run_tile<kMostRows>(pass,
                                {first, last - first, workspace.scratch(omp_get_thread_num())});
        }
    }
}

}  // namespace

void exact_recurrence(const ExactRecurrence& call) {
    call.storage == Storage::fp32 ? run<Forward<float>>(call) : run<Forward<bf16>>(call);
}

void exact_recurrence_backward(const ExactRecurrenceBackward& call) {
    call.storage == Storage::fp32 ? run<Backward<float>>(call) : run<Backward<bf16>>(call);
}

}  // namespace mm_rec::MM_REC_ISA
