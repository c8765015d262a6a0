// Gates and recurrence of MM-Rec in one pass each way; the backward pass computes the gates again
// instead of reading them.
#include "kernels/entry_points.h"
#include "kernels/gates.h"
#include "kernels/sequence.h"
#include "kernels/walk.h"

namespace mm_rec::MM_REC_ISA {
namespace {

// What differs between calls, known when a kernel is compiled.
template <InputScale kInputScale, bool kHasMdiState>
struct Variant {
    static constexpr InputScale kScale = kInputScale;
    static constexpr bool kSplit = kHasMdiState;
};

// What a gate adds up beside its logit, where there is such a thing; else nothing, and nothing that
// the loops would keep in registers.
template <class Row, bool kThere>
struct MdiState {
    Row row;
    MdiState(const Sequence& sequence, int64_t batch) : row(sequence, batch) {}

    template <int W>
    void add_to(Float<W>& mdi, int64_t t, int64_t channel) const {
        mdi += row.template get<W>(t, channel);
    }
    template <int W>
    void put(int64_t t, int64_t channel, Float<W> gradient) const {
        row.template put<W>(t, channel, gradient);
    }
};

template <class Row>
struct MdiState<Row, false> {
    MdiState(const Sequence&, int64_t) {}
    template <int W>
    void add_to(Float<W>&, int64_t, int64_t) const {}
    template <int W>
    void put(int64_t, int64_t, Float<W>) const {}
};

// One batch row of the inputs, or of their gradients.
template <class Row, bool kSplit>
struct GateRows : MdiState<Row, kSplit> {
    Row gamma;
    Row context;
    Row input_gate;
    Row mdi;
    Row z;
    const bool* is_padding;

    GateRows(const GateInputs& inputs, int64_t batch, int64_t steps)
        : MdiState<Row, kSplit>(inputs.mdi_state, batch),
          gamma(inputs.gamma, batch),
          context(inputs.context, batch),
          input_gate(inputs.input_gate, batch),
          mdi(inputs.mdi, batch),
          z(inputs.z, batch),
          is_padding(inputs.is_padding ? inputs.is_padding + batch * steps : nullptr) {}

    bool padding(int64_t t) const { return is_padding && is_padding[t]; }

    template <int W>
    [[gnu::always_inline]] GateValues<W> get(int64_t t, int64_t channel) const {
        GateValues<W> values{
            gamma.template get<W>(t, channel), context.template get<W>(t, channel),
            input_gate.template get<W>(t, channel), mdi.template get<W>(t, channel),
            z.template get<W>(t, channel)};
        this->template add_to<W>(values.mdi, t, channel);
        return values;
    }

    template <int W>
    [[gnu::always_inline]] void put(int64_t t, int64_t channel, const GateValues<W>& values) const {
        gamma.template put<W>(t, channel, values.gamma);
        context.template put<W>(t, channel, values.context);
        input_gate.template put<W>(t, channel, values.input_gate);
        mdi.template put<W>(t, channel, values.mdi);
        MdiState<Row, kSplit>::template put<W>(t, channel, values.mdi);
        z.template put<W>(t, channel, values.z);
    }
};

template <class Format, class Variant>
struct GatedStep {
    static constexpr bool kReverse = false;
    GateRows<InputRow<Format>, Variant::kSplit> inputs;
    OutputRow<Format> h;
    State h0;
    State h_last;

    float initial(int64_t channel) const { return h0 ? h0[channel] : 0; }

    template <int W>
    [[gnu::always_inline]] Float<W> advance(Float<W> state, int64_t t, int64_t channel) const {
        if (!inputs.padding(t)) {
            const Update<W> update(inputs.template get<W>(t, channel));
            state = update.template apply<Variant::kScale>(state);
        }
        h.template put<W>(t, channel, state);
        return state;
    }

    template <int W>
    Affine<W> map(int64_t t, int64_t channel) const {
        if (inputs.padding(t)) return {fill<W>(1.0f), fill<W>(0.0f)};
        const Update<W> update(inputs.template get<W>(t, channel));
        return {1.0f - update.weight, update.template input<Variant::kScale>()};
    }

    void finish(int64_t channel, float state) const { h_last[channel] = state; }
};

template <class Format, class Variant>
struct GatedBackwardStep {
    static constexpr bool kReverse = true;
    InputRow<Format> h_gradient;
    GateRows<InputRow<Format>, Variant::kSplit> inputs;
    InputRow<Format> h;
    GateRows<OutputRow<Format>, Variant::kSplit> gradients;
    State h0;
    State h_last_gradient;
    State h0_gradient;

    float initial(int64_t channel) const { return h_last_gradient ? h_last_gradient[channel] : 0; }

    template <int W>
    Float<W> before(int64_t t, int64_t channel) const {
        if (t > 0) return h.template get<W>(t - 1, channel);
        return h0 ? load<W>(h0 + channel) : fill<W>(0.0f);
    }

    template <int W>
    [[gnu::always_inline]] Float<W> advance(Float<W> carried, int64_t t, int64_t channel) const {
        const Float<W> gradient = h_gradient.template get<W>(t, channel) + carried;
        if (inputs.padding(t)) {
            gradients.template put<W>(t, channel, GateValues<W>{});
            return gradient;
        }
        const Gates<W> gates(inputs.template get<W>(t, channel));
        gradients.template put<W>(
            t, channel, gates.template gradients<Variant::kScale>(gradient, before<W>(t, channel)));
        return gates.carry(gradient);
    }

    template <int W>
    Affine<W> map(int64_t t, int64_t channel) const {
        const Float<W> gradient = h_gradient.template get<W>(t, channel);
        if (inputs.padding(t)) return {fill<W>(1.0f), gradient};
        const Float<W> scale = 1.0f - Update<W>(inputs.template get<W>(t, channel)).weight;
        return {scale, scale * gradient};
    }

    void finish(int64_t channel, float carried) const { h0_gradient[channel] = carried; }
};

template <class Format, class Variant>
void forward(const GatedRecurrence& call) {
    walk(call, [&](int64_t batch) {
        return GatedStep<Format, Variant>{{call.inputs, batch, call.extents.time},
                                         {call.h, batch},
                                         state_row(call.h0, call.extents, batch),
                                         state_row(call.h_last, call.extents, batch)};
    });
}

template <class Format, class Variant>
void backward(const GatedRecurrenceBackward& call) {
    walk(call, [&](int64_t batch) {
        return GatedBackwardStep<Format, Variant>{
            {call.h_gradient, batch},
            {call.inputs, batch, call.extents.time},
            {call.h, batch},
            {call.gradients, batch, call.extents.time},
            state_row(call.h0, call.extents, batch),
            state_row(call.h_last_gradient, call.extents, batch),
            state_row(call.h0_gradient, call.extents, batch)};
    });
}

// Calls run(Variant) with the one of a call.
template <class Call, class Run>
void with_variant(const Call& call, Run run) {
    const bool split = call.inputs.mdi_state.data != nullptr;
    if (call.scale == InputScale::convex)
        return split ? run(Variant<InputScale::convex, true>{})
                     : run(Variant<InputScale::convex, false>{});
    return split ? run(Variant<InputScale::variance, true>{})
                 : run(Variant<InputScale::variance, false>{});
}

}  // namespace

void gated_recurrence(const GatedRecurrence& call) {
    const bool streams = worth_streaming(call, 6, call.h);
    with_format(call, streams, [&](auto format) {
        with_variant(call,
                     [&](auto variant) { forward<decltype(format), decltype(variant)>(call); });
    });
}

void gated_recurrence_backward(const GatedRecurrenceBackward& call) {
    const GateInputs& results = call.gradients;
    const bool streams = worth_streaming(call, 12, results.gamma, results.context,
                                         results.input_gate, results.mdi, results.z,
                                         results.mdi_state);
    with_format(call, streams, [&](auto format) {
        with_variant(call,
                     [&](auto variant) { backward<decltype(format), decltype(variant)>(call); });
    });
}

}  // namespace mm_rec::MM_REC_ISA
