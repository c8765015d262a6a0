// One token through all layers. Threads share the rows of every product and meet at a barrier
// between two that depend on each other; a whole step is one parallel region.
#include "decode_step.h"

#include <omp.h>

#include "kernels/activations.h"
#include "kernels/barrier.h"
#include "kernels/blocks.h"
#include "kernels/entry_points.h"
#include "kernels/flush_to_zero.h"
#include "kernels/memory_step.h"
#include "kernels/row_products.h"

namespace mm_rec::MM_REC_ISA {
namespace {

// Vectors of the whole batch that the threads share, cut from the workspace.
struct Shared {
    Vectors x, y, q, k, v, z, p, e;
    Vectors input_gate, mdi_state, mdi, gamma_low, context_low, gamma, context, key, query, mixed;
    Vectors wide;
};

class Workspace {
public:
    Workspace(float* data, int64_t batch) : next_(data), batch_(batch) {}

    Vectors vectors(int64_t width) {
        const int64_t stride = ceil_divide(width, kLineChannels) * kLineChannels;
        const Vectors taken{next_, stride};
        next_ += batch_ * stride;
        return taken;
    }

private:
    float* next_;
    int64_t batch_;
};

Shared share(Workspace& space, const DecodeWidths& widths) {
    const auto model = [&] { return space.vectors(widths.model); };
    const auto inner = [&] { return space.vectors(widths.inner); };
    return {model(),
            model(),
            model(),
            model(),
            model(),
            model(),
            space.vectors(widths.priority),
            model(),
            model(),
            model(),
            model(),
            inner(),
            inner(),
            model(),
            model(),
            model(),
            model(),
            model(),
            space.vectors(widths.ffn)};
}

struct Range {
    int64_t begin;
    int64_t end;
};

// One thread's part in a step.
class Worker {
public:
    Worker(const DecodeStep& step, const Shared& shared, const Vectors& own, Barrier& barrier,
           int thread, int threads)
        : step_(step),
          model_(*step.model),
          widths_(step.model->widths),
          shared_(shared),
          own_(own),
          barrier_(barrier),
          thread_(thread),
          threads_(threads) {}

    void run() {
        embed();
        for (int64_t index = 0; index < widths_.layers; ++index) {
            const DecodeLayer& layer = model_.layers[index];
            state_ = state_of(index);
            project(layer);
            decay(layer);
            advance(layer);
            if (widths_.memories > 0) remember(layer);
            emit(layer);
            feed_forward(layer);
        }
        normalize(shared_.x, model_.norm);
        multiply(model_.head, own_, {step_.logits, widths_.vocabulary});
    }

private:
    DecodeState state_of(int64_t layer) const {
        const int64_t vectors = layer * step_.batch * widths_.model;
        const int64_t matrices = vectors * head_width() * widths_.memories;
        const DecodeState& all = step_.state;
        return {all.gate_input + vectors, all.key + vectors, all.hidden + vectors,
                all.memory + matrices};
    }

    int64_t head_width() const { return widths_.model / widths_.heads; }

    // This thread's part of `count` things; threads share no cache line of results.
    Range part(int64_t count, int64_t unit = kLineChannels) const {
        const int64_t units = ceil_divide(count, unit);
        return {smaller(count, units * thread_ / threads_ * unit),
                smaller(count, units * (thread_ + 1) / threads_ * unit)};
    }

    void meet() { barrier_.wait(threads_); }

    Vectors state_vectors(float* data) const { return {data, widths_.model}; }

    Range multiply(const Linear& linear, const Vectors& x, const Vectors& y) const {
        const Range range = part(linear.outputs);
        product(linear, x, y, step_.batch, range.begin, range.end);
        return range;
    }

    // Calls body(Lanes<W>, b, c) for this thread's channels of every vector in the batch.
    template <class Body>
    void for_channels(const Range& range, Body body) const {
        for (int64_t b = 0; b < step_.batch; ++b)
            for_vectors(range.begin, range.end, [&](auto lanes, int64_t c) { body(lanes, b, c); });
    }

    void apply_gelu(const Vectors& values, const Range& range) const {
        for_channels(range, [&](auto lanes, int64_t b, int64_t c) {
            constexpr int W = decltype(lanes)::value;
            store<W>(values[b] + c, gelu<W>(load<W>(values[b] + c)));
        });
    }

    void add(const Vectors& to, const Vectors& from, const Range& range) const {
        for_channels(range, [&](auto lanes, int64_t b, int64_t c) {
            constexpr int W = decltype(lanes)::value;
            store<W>(to[b] + c, load<W>(to[b] + c) + load<W>(from[b] + c));
        });
    }

    float inverse_root_mean_square(const float* values) const {
        Float<kLanes> squares{};
        float rest = 0;
        for_vectors(0, widths_.model, [&](auto lanes, int64_t c) {
            constexpr int W = decltype(lanes)::value;
            const Float<W> value = load<W>(values + c);
            if constexpr (W == kLanes)
                squares += value * value;
            else
                for (int lane = 0; lane < W; ++lane) rest += value[lane] * value[lane];
        });
        const float mean = (sum<kLanes>(squares) + rest) / static_cast<float>(widths_.model);
        return 1.0f / __builtin_sqrtf(mean + model_.norm_eps);
    }

    // own = x / rms(x) * weight. Every thread does all of it: cheaper than to meet once more.
    void normalize(const Vectors& x, const float* weight) const {
        for (int64_t b = 0; b < step_.batch; ++b) {
            const float scale = inverse_root_mean_square(x[b]);
            for_vectors(0, widths_.model, [&](auto lanes, int64_t c) {
                constexpr int W = decltype(lanes)::value;
                store<W>(own_[b] + c, load<W>(x[b] + c) * scale * load<W>(weight + c));
            });
        }
    }

    void embed() {
        for_channels(part(widths_.model), [&](auto lanes, int64_t b, int64_t c) {
            constexpr int W = decltype(lanes)::value;
            const float* row = model_.embedding + step_.ids[b] * widths_.model;
            store<W>(shared_.x[b] + c, load<W>(row + c));
        });
        meet();
    }

    // All that depends on the input of the block, or on the state before it alone.
    void project(const DecodeLayer& layer) {
        normalize(shared_.x, layer.norm1);
        multiply(layer.q, own_, shared_.q);
        multiply(layer.k, own_, shared_.k);
        multiply(layer.v, own_, shared_.v);
        multiply(layer.z, own_, shared_.z);
        multiply(layer.p, own_, shared_.p);
        multiply(layer.e, own_, shared_.e);
        const Vectors seen = state_vectors(state_.gate_input);
        multiply(layer.input_gate, seen, shared_.input_gate);
        multiply(layer.mdi_state, seen, shared_.mdi_state);
        meet();
    }

    void decay(const DecodeLayer& layer) {
        apply_gelu(shared_.gamma_low, multiply(layer.gamma_down, shared_.z, shared_.gamma_low));
        apply_gelu(shared_.context_low,
                   multiply(layer.context_down, shared_.k, shared_.context_low));
        add(shared_.mdi, shared_.mdi_state, multiply(layer.mdi_input, shared_.z, shared_.mdi));
        meet();
    }

    void advance(const DecodeLayer& layer) {
        multiply(layer.context_up, shared_.context_low, shared_.context);
        const Range range = multiply(layer.gamma_up, shared_.gamma_low, shared_.gamma);
        for (int64_t b = 0; b < step_.batch && range.begin < range.end; ++b) advance_row(range, b);
        meet();
    }

    // One step of the same recurrence that reads whole texts.
    void advance_row(const Range& range, int64_t b) const {
        const auto sequence = [&](const Vectors& vectors) {
            return Sequence{vectors[b] + range.begin, 0, 0};
        };
        float* hidden = state_.hidden + b * widths_.model + range.begin;
        const Call call{{1, 1, range.end - range.begin}, Storage::fp32, 1};
        const GateInputs inputs{sequence(shared_.gamma),      sequence(shared_.context),
                                sequence(shared_.input_gate), sequence(shared_.mdi),
                                sequence(shared_.z),          nullptr,
                                {}};
        gated_recurrence({call, inputs, model_.scale, hidden, sequence(shared_.mixed), hidden});
    }

    void remember(const DecodeLayer& layer) {
        const Vectors hidden = state_vectors(state_.hidden);
        add(shared_.query, shared_.q, multiply(layer.query, hidden, shared_.query));
        make_keys();
        meet();
        const Range heads = part(step_.batch * widths_.heads, 1);
        for (int64_t index = heads.begin; index < heads.end; ++index)
            ask(layer, index / widths_.heads, index % widths_.heads);
        meet();
    }

    // The key of a write is the previous token's, times the priority gate.
    void make_keys() const {
        const int64_t repeats = widths_.model / widths_.priority;
        const Vectors previous = state_vectors(state_.key);
        for_channels(part(widths_.model), [&](auto lanes, int64_t b, int64_t c) {
            constexpr int W = decltype(lanes)::value;
            Float<W> logit;
            if (repeats == 1)
                logit = load<W>(shared_.p[b] + c);
            else
                for (int lane = 0; lane < W; ++lane)
                    logit[lane] = shared_.p[b][(c + lane) / repeats];
            store<W>(shared_.key[b] + c, sigmoid<W>(logit) * load<W>(previous[b] + c));
        });
    }

    // Adds what one head reads from every bank to the short-term state.
    void ask(const DecodeLayer& layer, int64_t b, int64_t head) const {
        const int64_t width = head_width();
        const int64_t channel = head * width;
        float* read = own_[b];
        for (int64_t bank = 0; bank < widths_.memories; ++bank) {
            const int64_t matrix = (b * widths_.memories + bank) * widths_.heads + head;
            write_and_read(state_.memory + matrix * width * width, model_.decays[bank],
                           shared_.key[b] + channel, shared_.v[b] + channel,
                           shared_.query[b] + channel, read, width);
            const float weight =
                layer.bank_weights ? layer.bank_weights[bank * widths_.heads + head] : 1.0f;
            add_normalized(shared_.mixed[b] + channel, read, weight, width);
        }
    }

    void emit(const DecodeLayer& layer) {
        keep_inputs();
        for (int64_t b = 0; b < step_.batch; ++b) {
            const float scale = inverse_root_mean_square(shared_.mixed[b]);
            for_vectors(0, widths_.model, [&](auto lanes, int64_t c) {
                constexpr int W = decltype(lanes)::value;
                const Float<W> gate = silu<W>(load<W>(shared_.e[b] + c));
                store<W>(own_[b] + c, load<W>(shared_.mixed[b] + c) * scale * gate);
            });
        }
        add(shared_.y, shared_.x, multiply(layer.output, own_, shared_.y));
        meet();
    }

    // What the next token sees of this one; nobody reads the previous values any more.
    void keep_inputs() const {
        const Vectors seen = model_.is_exact ? state_vectors(state_.hidden) : shared_.z;
        for_channels(part(widths_.model), [&](auto lanes, int64_t b, int64_t c) {
            constexpr int W = decltype(lanes)::value;
            const int64_t place = b * widths_.model + c;
            store<W>(state_.gate_input + place, load<W>(seen[b] + c));
            store<W>(state_.key + place, load<W>(shared_.k[b] + c));
        });
    }

    void feed_forward(const DecodeLayer& layer) {
        normalize(shared_.y, layer.norm2);
        apply_gelu(shared_.wide, multiply(layer.ffn_up, own_, shared_.wide));
        meet();
        add(shared_.x, shared_.y, multiply(layer.ffn_down, shared_.wide, shared_.x));
        meet();
    }

    const DecodeStep& step_;
    const DecodeModel& model_;
    const DecodeWidths& widths_;
    const Shared& shared_;
    Vectors own_;  // of this thread alone
    Barrier& barrier_;
    int thread_;
    int threads_;
    DecodeState state_{};
};

}  // namespace

void decode_step(const DecodeStep& step) {
    const DecodeWidths& widths = step.model->widths;
    Barrier barrier;
#pragma omp parallel num_threads(step.threads) if (step.threads > 1)
    {
        const FlushToZero flush;
        const int thread = omp_get_thread_num();
        Workspace space(step.workspace, step.batch);
        const Shared shared = share(space, widths);
        Vectors own{};
        for (int skipped = 0; skipped <= thread; ++skipped) own = space.vectors(widths.model);
        Worker(step, shared, own, barrier, thread, omp_get_num_threads()).run();
    }
}

}  // namespace mm_rec::MM_REC_ISA
