// Gates and recurrence of MM-Rec in one pass each way; the backward pass computes the gates again
// instead of reading them. With sigma the sigmoid:
//   gamma = clamp(sigma(x) * sigma(y)), g = sigma(m), i = sigma(n), w = (1 - gamma) * g,
//   h[t] = h[t-1] + w * (i * z - h[t-1]).
// 1 - gamma is computed from u = e^-x + e^-y + e^-(x+y) as u / (1 + u): no digits are lost where
// gamma is close to 1, which is where time constants are long.
#include "kernels/entry_points.h"
#include "kernels/exponential.h"
#include "kernels/sequence.h"
#include "kernels/walk.h"

namespace mm_rec::MM_REC_ISA {
namespace {

constexpr float kLeast = 1e-6f;  // of gamma, and of 1 - gamma
constexpr float kMost = 1.0f - 1e-6f;
// Logits below the first count as the first, so that no product below overflows: a sigmoid ends at
// 2e-16. Above the second, e^-x is nothing beside 1.
constexpr float kLowestLogit = -36.0f;
constexpr float kHighestLogit = 87.0f;

// e^-x, of which 1 / (1 + e^-x) is the sigmoid.
template <int W>
inline Float<W> odds_against(Float<W> logit) {
    return negative_exponential<W>(clamp<W>(logit, kLowestLogit, kHighestLogit));
}

// One batch row of the inputs, or of their gradients.
template <class Row>
struct GateRows {
    Row gamma;
    Row context;
    Row input_gate;
    Row mdi;
    Row z;
    const bool* is_padding;

    GateRows(const GateInputs& inputs, int64_t batch, int64_t steps)
        : gamma(inputs.gamma, batch),
          context(inputs.context, batch),
          input_gate(inputs.input_gate, batch),
          mdi(inputs.mdi, batch),
          z(inputs.z, batch),
          is_padding(inputs.is_padding ? inputs.is_padding + batch * steps : nullptr) {}

    bool padding(int64_t t) const { return is_padding && is_padding[t]; }
};

// What the forward pass needs of W channels at one step: w and i * z.
template <int W>
struct Update {
    Float<W> weight;
    Float<W> target;

    template <class Row>
    Update(const GateRows<Row>& rows, int64_t t, int64_t channel) {
        // 1 - gamma = u / (1 + u): clamping u clamps gamma.
        constexpr float kLeastOdds = kLeast / kMost;
        constexpr float kMostOdds = kMost / kLeast;
        const Float<W> ex = odds_against<W>(rows.gamma.template get<W>(t, channel));
        const Float<W> ey = odds_against<W>(rows.context.template get<W>(t, channel));
        const Float<W> em = odds_against<W>(rows.mdi.template get<W>(t, channel));
        const Float<W> en = odds_against<W>(rows.input_gate.template get<W>(t, channel));
        const Float<W> u = clamp<W>(ex * ey + (ex + ey), kLeastOdds, kMostOdds);
        // One reciprocal for all three quotients.
        const Float<W> below = (1.0f + u) * (1.0f + em);
        const Float<W> inverse = reciprocal<W>(below * (1.0f + en));
        weight = u * (1.0f + en) * inverse;
        target = below * inverse * rows.z.template get<W>(t, channel);
    }
};

// What the backward pass needs of W channels at one step.
template <int W>
struct Gates {
    Float<W> gamma;        // before its clamp
    Float<W> decayed;      // 1 - gamma, clamped
    Float<W> not_gamma;    // 1 - sigma(x)
    Float<W> not_context;  // 1 - sigma(y)
    Float<W> g;
    Float<W> not_g;
    Float<W> i;
    Float<W> not_i;

    template <class Row>
    Gates(const GateRows<Row>& rows, int64_t t, int64_t channel) {
        const Float<W> ex = odds_against<W>(rows.gamma.template get<W>(t, channel));
        const Float<W> ey = odds_against<W>(rows.context.template get<W>(t, channel));
        const Float<W> em = odds_against<W>(rows.mdi.template get<W>(t, channel));
        const Float<W> en = odds_against<W>(rows.input_gate.template get<W>(t, channel));
        gamma = reciprocal<W>((1.0f + ex) * (1.0f + ey));
        decayed = clamp<W>((ex * ey + (ex + ey)) * gamma, kLeast, kMost);
        not_gamma = ex * (gamma * (1.0f + ey));
        not_context = ey * (gamma * (1.0f + ex));
        const Float<W> both = reciprocal<W>((1.0f + em) * (1.0f + en));
        g = both * (1.0f + en);
        not_g = em * g;
        i = both * (1.0f + em);
        not_i = en * i;
    }
};

template <class Format>
struct GatedStep {
    static constexpr bool kReverse = false;
    GateRows<InputRow<Format>> inputs;
    OutputRow<Format> h;
    State h0;
    State h_last;

    float initial(int64_t channel) const { return h0 ? h0[channel] : 0; }

    template <int W>
    Float<W> advance(Float<W> state, int64_t t, int64_t channel) const {
        if (!inputs.padding(t)) {
            const Update<W> update(inputs, t, channel);
            state += update.weight * (update.target - state);
        }
        h.template put<W>(t, channel, state);
        return state;
    }

    template <int W>
    Affine<W> map(int64_t t, int64_t channel) const {
        if (inputs.padding(t)) return {fill<W>(1.0f), fill<W>(0.0f)};
        const Update<W> update(inputs, t, channel);
        return {1.0f - update.weight, update.weight * update.target};
    }

    void finish(int64_t channel, float state) const { h_last[channel] = state; }
};

template <class Format>
struct GatedBackwardStep {
    static constexpr bool kReverse = true;
    InputRow<Format> h_gradient;
    GateRows<InputRow<Format>> inputs;
    InputRow<Format> h;
    GateRows<OutputRow<Format>> gradients;
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
    Float<W> advance(Float<W> carried, int64_t t, int64_t channel) const {
        const Float<W> gradient = h_gradient.template get<W>(t, channel) + carried;
        if (inputs.padding(t)) {
            put_zeros<W>(t, channel);
            return gradient;
        }
        const Gates<W> gates(inputs, t, channel);
        const Float<W> weight = gates.decayed * gates.g;
        const Float<W> z = inputs.z.template get<W>(t, channel);
        const Float<W> weight_gradient = gradient * (gates.i * z - before<W>(t, channel));
        const Float<W> z_gradient = gradient * weight * gates.i;
        // A clamped gamma has no gradient.
        const auto inside = (gates.decayed > kLeast) & (gates.decayed < kMost);
        const Float<W> gamma_gradient =
            inside ? weight_gradient * gates.g * -gates.gamma : fill<W>(0.0f);
        gradients.gamma.template put<W>(t, channel, gamma_gradient * gates.not_gamma);
        gradients.context.template put<W>(t, channel, gamma_gradient * gates.not_context);
        gradients.mdi.template put<W>(t, channel, weight_gradient * weight * gates.not_g);
        gradients.input_gate.template put<W>(t, channel, z_gradient * z * gates.not_i);
        gradients.z.template put<W>(t, channel, z_gradient);
        return gradient - weight * gradient;
    }

    template <int W>
    void put_zeros(int64_t t, int64_t channel) const {
        gradients.gamma.template put<W>(t, channel, fill<W>(0.0f));
        gradients.context.template put<W>(t, channel, fill<W>(0.0f));
        gradients.mdi.template put<W>(t, channel, fill<W>(0.0f));
        gradients.input_gate.template put<W>(t, channel, fill<W>(0.0f));
        gradients.z.template put<W>(t, channel, fill<W>(0.0f));
    }

    template <int W>
    Affine<W> map(int64_t t, int64_t channel) const {
        const Float<W> gradient = h_gradient.template get<W>(t, channel);
        if (inputs.padding(t)) return {fill<W>(1.0f), gradient};
        const Float<W> scale = 1.0f - Update<W>(inputs, t, channel).weight;
        return {scale, scale * gradient};
    }

    void finish(int64_t channel, float carried) const { h0_gradient[channel] = carried; }
};

template <class Format>
void forward(const GatedRecurrence& call) {
    walk(call, [&](int64_t batch) {
        return GatedStep<Format>{{call.inputs, batch, call.extents.time},
                                 {call.h, batch},
                                 state_row(call.h0, call.extents, batch),
                                 state_row(call.h_last, call.extents, batch)};
    });
}

template <class Format>
void backward(const GatedRecurrenceBackward& call) {
    walk(call, [&](int64_t batch) {
        return GatedBackwardStep<Format>{{call.h_gradient, batch},
                                         {call.inputs, batch, call.extents.time},
                                         {call.h, batch},
                                         {call.gradients, batch, call.extents.time},
                                         state_row(call.h0, call.extents, batch),
                                         state_row(call.h_last_gradient, call.extents, batch),
                                         state_row(call.h0_gradient, call.extents, batch)};
    });
}

}  // namespace

void gated_recurrence(const GatedRecurrence& call) {
    const bool streams = worth_streaming(call, 6, call.h);
    with_format(call, streams, [&](auto format) { forward<decltype(format)>(call); });
}

void gated_recurrence_backward(const GatedRecurrenceBackward& call) {
    const GateInputs& results = call.gradients;
    const bool streams = worth_streaming(call, 12, results.gamma, results.context,
                                         results.input_gate, results.mdi, results.z);
    with_format(call, streams, [&](auto format) { backward<decltype(format)>(call); });
}

}  // namespace mm_rec::MM_REC_ISA
