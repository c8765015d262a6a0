// The recurrence whose gates see the state: two products with the state at every step. Each thread
// leads a few rows through all of time, so that the weights stream from its second-level cache and
// every vector of them serves all its rows. Where rows are too few for the threads, a team of
// threads shares them: each holds some channels, and they meet once a step.
#include <omp.h>

#include "kernels/barrier.h"
#include "kernels/blocks.h"
#include "kernels/entry_points.h"
#include "kernels/flush_to_zero.h"
#include "kernels/gates.h"
#include "kernels/panels.h"
#include "kernels/sequence.h"

namespace mm_rec::MM_REC_ISA {
namespace {

constexpr int W = kLanes;
// A forward panel holds both gates of these channels.
constexpr int kPairVectors = kPanelVectors / 2;
constexpr int64_t kPairChannels = kPairVectors * W;
constexpr int64_t kPanelWidth = kPanelVectors * W;
constexpr int64_t kCacheLine = 64;
// Multiplications that are worth a thread.
constexpr int64_t kThreadProducts = 1 << 20;

inline int64_t pad(int64_t channels) {
    return ceil_divide(channels, kPairChannels) * kPairChannels;
}

// Up to W channels of a row: all of them, or those that are left at its end.
struct Span {
    int64_t channel;
    int64_t count;
};

template <class T>
inline Float<W> load_span(const T* row, const Span& span) {
    if (span.count >= W) return load<W>(row + span.channel);
    T part[W] = {};
    for (int64_t lane = 0; lane < span.count; ++lane) part[lane] = row[span.channel + lane];
    return load<W>(part);
}

template <class T>
inline void store_span(T* row, const Span& span, Float<W> value) {
    if (span.count >= W) return store<W>(row + span.channel, value);
    T part[W];
    store<W>(part, value);
    for (int64_t lane = 0; lane < span.count; ++lane) row[span.channel + lane] = part[lane];
}

template <class T>
inline T* row_at(const Sequence& sequence, int64_t row, int64_t t) {
    return static_cast<T*>(sequence.data) + row * sequence.batch_stride + t * sequence.time_stride;
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

// How rows and channels are shared out. A task is a tile of rows; a team of threads does it, each
// for its own channels.
class Plan {
public:
    Plan(const Extents& extents, int64_t threads) : extents_(extents) {
        panels_ = ceil_divide(pad(extents.channels), kPanelWidth);
        team_ = smaller(panels_, extents.batch < threads ? threads / extents.batch : 1);
        teams_ = threads / team_;
        tiles_ = ceil_divide(extents.batch, kMostRows);
        tiles_ = smaller(extents.batch, ceil_divide(tiles_, teams_) * teams_);
    }

    int team_size() const { return static_cast<int>(team_); }
    int64_t teams() const { return teams_; }
    int64_t tiles() const { return tiles_; }
    int64_t first_row(int64_t tile) const { return extents_.batch * tile / tiles_; }
    // First channel of a member of a team.
    int64_t first_channel(int64_t member) const {
        return smaller(pad(extents_.channels), panels_ * member / team_ * kPanelWidth);
    }

private:
    Extents extents_;
    int64_t panels_;
    int64_t team_;
    int64_t teams_;
    int64_t tiles_;
};

// Memory of one call: packed weights, what each team shares, and a barrier for each.
class Workspace {
public:
    Workspace(int64_t packed, int64_t shared, int teams)
        : packed_(round_up(packed)),
          shared_(round_up(shared)),
          floats_(new float[packed_ + teams * shared_ + kLineChannels]),
          barriers_(new Barrier[teams]) {}
    ~Workspace() {
        delete[] floats_;
        delete[] barriers_;
    }
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;

    float* packed() const {
        const auto address = reinterpret_cast<uintptr_t>(floats_) + kCacheLine - 1;
        return reinterpret_cast<float*>(address / kCacheLine * kCacheLine);
    }
    float* shared(int64_t team) const { return packed() + packed_ + team * shared_; }
    Barrier* barrier(int64_t team) const { return barriers_ + team; }

private:
    static int64_t round_up(int64_t floats) {
        return ceil_divide(floats, kLineChannels) * kLineChannels;
    }

    int64_t packed_;
    int64_t shared_;
    float* floats_;
    Barrier* barriers_;
};

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

// What one thread does of one tile.
struct Share {
    int64_t first_row;
    int64_t rows;
    int64_t begin;  // first channel, of a pair
    int64_t end;    // one past the last, padded
    float* shared;  // two buffers, each written in one step and read in the next
    Barrier* barrier;
    int team_size;

    void meet() const { barrier->wait(team_size); }
};

template <class T>
class Forward {
public:
    Forward(const ExactRecurrence& call, const float* packed) : call_(call), packed_(packed) {}

    static int64_t shared_floats(int64_t channels) { return 2 * kMostRows * pad(channels); }

    static void pack(const GateWeights& weights, int64_t channels, int64_t first, int64_t last,
                     float* packed) {
        for (int64_t pair = first; pair < last; pair += kPairChannels)
            pack_pair(weights, channels, pair, packed + pair * 2 * pad(channels));
    }

    template <int R>
    void run(const Share& share) const {
        const int64_t channels = call_.extents.channels;
        const int64_t padded = pad(channels);
        float* now = share.shared;
        float* next = share.shared + kMostRows * padded;
        start<R>(share, now, next);
        share.meet();
        for (int64_t t = 0; t < call_.extents.time; ++t) {
            for (int64_t pair = share.begin; pair < share.end; pair += kPairChannels) {
                alignas(64) float logits[R * kPanelWidth];
                for (int r = 0; r < R; ++r)
                    prefetch(share.first_row + r, t + 1 < call_.extents.time ? t + 1 : t, pair);
                multiply_panel<R, kPanelVectors, false>(now, padded, packed_ + pair * 2 * padded,
                                                        padded, logits, kPanelWidth);
                for (int r = 0; r < R; ++r)
                    for (int64_t c = 0; c < kPairChannels && pair + c < channels; c += W)
                        step(share.first_row + r, t, {pair + c, channels - pair - c},
                             logits + r * kPanelWidth + c, now + r * padded, next + r * padded);
            }
            share.meet();
            float* const swapped = now;
            now = next;
            next = swapped;
        }
        finish<R>(share, now);
    }

private:
    template <int R>
    void start(const Share& share, float* now, float* next) const {
        const int64_t channels = call_.extents.channels;
        const int64_t padded = pad(channels);
        for (int r = 0; r < R; ++r) {
            const float* h0 = state_row(call_.h0, call_.extents, share.first_row + r);
            for (int64_t c = share.begin; c < share.end; ++c) {
                now[r * padded + c] = h0 && c < channels ? h0[c] : 0;
                next[r * padded + c] = 0;
            }
        }
    }

    template <int R>
    void finish(const Share& share, const float* now) const {
        const int64_t channels = call_.extents.channels;
        for (int r = 0; r < R; ++r) {
            float* h_last = state_row(call_.h_last, call_.extents, share.first_row + r);
            for (int64_t c = share.begin; c < smaller(share.end, channels); ++c)
                h_last[c] = now[r * pad(channels) + c];
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

    // Gradients of both gates in two buffers, and what is carried back to the step before.
    static int64_t shared_floats(int64_t channels) { return 5 * kMostRows * pad(channels); }

    static void pack(const GateWeights& weights, int64_t channels, int64_t first, int64_t last,
                     float* packed) {
        pack_channels(weights, channels, first, last - first, packed + first * 2 * pad(channels));
    }

    template <int R>
    void run(const Share& share) const {
        const int64_t channels = call_.extents.channels;
        const int64_t padded = pad(channels);
        float* gates = share.shared;
        float* other = gates + 2 * kMostRows * padded;
        float* carried = other + 2 * kMostRows * padded;
        start<R>(share, gates, other, carried);
        for (int64_t t = call_.extents.time - 1; t >= 0; --t) {
            for (int r = 0; r < R; ++r)
                for (int64_t c = share.begin; c < smaller(share.end, channels); c += W)
                    step(share.first_row + r, t, {c, channels - c}, gates + 2 * r * padded,
                         carried + r * padded);
            share.meet();
            for (int64_t c = share.begin; c < share.end; c += kPanelWidth) {
                for (int r = 0; r < R; ++r) prefetch(share.first_row + r, t > 0 ? t - 1 : 0, c);
                const float* panel = packed_ + c * 2 * padded;
                const int64_t depth = 2 * padded;
                if (share.end - c >= kPanelWidth)
                    multiply_panel<R, kPanelVectors, true>(gates, depth, panel, depth, carried + c,
                                                           padded);
                else
                    multiply_panel<R, kPairVectors, true>(gates, depth, panel, depth, carried + c,
                                                          padded);
            }
            float* const swapped = gates;
            gates = other;
            other = swapped;
        }
        finish<R>(share, carried);
        share.meet();
    }

private:
    template <int R>
    void start(const Share& share, float* gates, float* other, float* carried) const {
        const int64_t channels = call_.extents.channels;
        const int64_t padded = pad(channels);
        for (int r = 0; r < R; ++r) {
            const float* last =
                state_row(call_.h_last_gradient, call_.extents, share.first_row + r);
            for (int64_t c = share.begin; c < share.end; ++c) {
                carried[r * padded + c] = last && c < channels ? last[c] : 0;
                gates[2 * r * padded + c] = gates[(2 * r + 1) * padded + c] = 0;
                other[2 * r * padded + c] = other[(2 * r + 1) * padded + c] = 0;
            }
        }
    }

    template <int R>
    void finish(const Share& share, const float* carried) const {
        const int64_t channels = call_.extents.channels;
        for (int r = 0; r < R; ++r) {
            float* gradient = state_row(call_.h0_gradient, call_.extents, share.first_row + r);
            for (int64_t c = share.begin; c < smaller(share.end, channels); ++c)
                gradient[c] = carried[r * pad(channels) + c];
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
inline void run_share(const Pass& pass, const Share& share) {
    if constexpr (R > 1)
        if (share.rows < R) return run_share<R - 1>(pass, share);
    pass.template run<R>(share);
}

// Packs the weights, then leads every tile of rows through time.
template <class Pass, class ExactCall>
void run(const ExactCall& call) {
    const int64_t channels = call.extents.channels;
    const int64_t padded = pad(channels);
    const int64_t products = call.extents.batch * call.extents.time * padded * padded;
    const int threads = static_cast<int>(smaller(call.threads, 1 + products / kThreadProducts));
    const Workspace workspace(2 * padded * padded, Pass::shared_floats(channels), threads);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        const FlushToZero flush;
        // OpenMP may give fewer threads than asked for.
        const Plan plan(call.extents, omp_get_num_threads());
#pragma omp for schedule(static)
        for (int64_t first = 0; first < padded; first += kPanelWidth)
            Pass::pack(call.weights, channels, first, smaller(padded, first + kPanelWidth),
                       workspace.packed());
        const int64_t team = omp_get_thread_num() / plan.team_size();
        const int64_t member = omp_get_thread_num() % plan.team_size();
        const Pass pass(call, workspace.packed());
        // Threads that are too few for one more team have nothing to do.
        const int64_t tiles = team < plan.teams() ? plan.tiles() : 0;
        for (int64_t tile = team; tile < tiles; tile += plan.teams())
            run_share<kMostRows>(
                pass, {plan.first_row(tile), plan.first_row(tile + 1) - plan.first_row(tile),
                       plan.first_channel(member), plan.first_channel(member + 1),
                       workspace.shared(team), workspace.barrier(team), plan.team_size()});
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
