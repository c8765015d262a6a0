// The gates of MM-Rec for W channels at one step. With sigma the sigmoid:
//   gamma = clamp(sigma(x) * sigma(y)), g = sigma(m), i = sigma(n), w = (1 - gamma) * g,
//   h[t] = (1 - w) * h[t-1] + scale * i * z, where scale is w, or sqrt(1 - (1 - w)^2).
// What loops call is inlined by force: the compiler would leave some of it to calls, with all that
// stands in registers written to memory; 1.3 to 1.6 times as long.
// 1 - gamma is computed from u = e^-x + e^-y + e^-(x+y) as u / (1 + u): no digits are lost where
// gamma is close to 1, which is where time constants are long.
#pragma once

#include "kernels.h"
#include "kernels/exponential.h"

namespace mm_rec::MM_REC_ISA {

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

// The gates before their sigmoids, and what they gate; or the gradients of these.
template <int W>
struct GateValues {
    Float<W> gamma;
    Float<W> context;
    Float<W> input_gate;
    Float<W> mdi;
    Float<W> z;
};

// 1 / sqrt(1 - (1 - w)^2); w is never 0, as no gate is quite closed.
template <int W>
inline Float<W> inverse_variance_scale(Float<W> weight) {
    return inverse_root<W>(weight * (2.0f - weight));
}

// What the forward pass needs: w and i * z.
template <int W>
struct Update {
    Float<W> weight;
    Float<W> target;

    [[gnu::always_inline]] explicit Update(const GateValues<W>& values) {
        // 1 - gamma = u / (1 + u): clamping u clamps gamma.
        constexpr float kLeastOdds = kLeast / kMost;
        constexpr float kMostOdds = kMost / kLeast;
        const Float<W> ex = odds_against<W>(values.gamma);
        const Float<W> ey = odds_against<W>(values.context);
        const Float<W> em = odds_against<W>(values.mdi);
        const Float<W> en = odds_against<W>(values.input_gate);
        const Float<W> u = clamp<W>(ex * ey + (ex + ey), kLeastOdds, kMostOdds);
        // One reciprocal for all three quotients.
        const Float<W> below = (1.0f + u) * (1.0f + em);
        const Float<W> inverse = reciprocal<W>(below * (1.0f + en));
        weight = u * (1.0f + en) * inverse;
        target = below * inverse * values.z;
    }

    template <InputScale kScale = InputScale::convex>
    [[gnu::always_inline]] Float<W> apply(Float<W> h) const {
        if constexpr (kScale == InputScale::convex)
            return h + weight * (target - h);
        else
            return h - weight * h + input<kScale>();
    }

    // What a step adds to the state.
    template <InputScale kScale>
    [[gnu::always_inline]] Float<W> input() const {
        if constexpr (kScale == InputScale::convex) return weight * target;
        return weight * (2.0f - weight) * inverse_variance_scale<W>(weight) * target;
    }
};

// What the backward pass needs.
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
    Float<W> z;
    Float<W> weight;

    [[gnu::always_inline]] explicit Gates(const GateValues<W>& values) : z(values.z) {
        const Float<W> ex = odds_against<W>(values.gamma);
        const Float<W> ey = odds_against<W>(values.context);
        const Float<W> em = odds_against<W>(values.mdi);
        const Float<W> en = odds_against<W>(values.input_gate);
        gamma = reciprocal<W>((1.0f + ex) * (1.0f + ey));
        decayed = clamp<W>((ex * ey + (ex + ey)) * gamma, kLeast, kMost);
        not_gamma = ex * (gamma * (1.0f + ey));
        not_context = ey * (gamma * (1.0f + ex));
        const Float<W> both = reciprocal<W>((1.0f + em) * (1.0f + en));
        g = both * (1.0f + en);
        not_g = em * g;
        i = both * (1.0f + em);
        not_i = en * i;
        weight = decayed * g;
    }

    // `gradient` is that of h[t], `before` is h[t-1].
    template <InputScale kScale = InputScale::convex>
    [[gnu::always_inline]] GateValues<W> gradients(Float<W> gradient, Float<W> before) const {
        if constexpr (kScale == InputScale::convex)
            return spread(gradient * (i * z - before), gradient * weight * i);
        const Float<W> inverse = inverse_variance_scale<W>(weight);
        const Float<W> slope = (1.0f - weight) * inverse;  // of the scale, by w
        return spread(gradient * (slope * i * z - before),
                      gradient * (weight * (2.0f - weight) * inverse) * i);
    }

    // The gradients by those of w and z.
    [[gnu::always_inline]] GateValues<W> spread(Float<W> weight_gradient,
                                                Float<W> z_gradient) const {
        // A clamped gamma has no gradient.
        const auto inside = (decayed > kLeast) & (decayed < kMost);
        const Float<W> gamma_gradient = inside ? weight_gradient * g * -gamma : fill<W>(0.0f);
        return {gamma_gradient * not_gamma, gamma_gradient * not_context, z_gradient * z * not_i,
                weight_gradient * weight * not_g, z_gradient};
    }

    // The gradient of h[t-1], but for what reaches it through gates that see it.
    [[gnu::always_inline]] Float<W> carry(Float<W> gradient) const {
        return gradient - weight * gradient;
    }
};

}  // namespace mm_rec::MM_REC_ISA
