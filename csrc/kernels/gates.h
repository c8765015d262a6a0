// The gates of MM-Rec for W channels at one step. With sigma the sigmoid:
//   gamma = clamp(sigma(x) * sigma(y)), g = sigma(m), i = sigma(n), w = (1 - gamma) * g,
//   h[t] = h[t-1] + w * (i * z - h[t-1]).
// 1 - gamma is computed from u = e^-x + e^-y + e^-(x+y) as u / (1 + u): no digits are lost where
// gamma is close to 1, which is where time constants are long.
#pragma once

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

// What the forward pass needs: w and i * z.
template <int W>
struct Update {
    Float<W> weight;
    Float<W> target;

    explicit Update(const GateValues<W>& values) {
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

    Float<W> apply(Float<W> h) const { return h + weight * (target - h); }
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

    explicit Gates(const GateValues<W>& values) : z(values.z) {
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
    GateValues<W> gradients(Float<W> gradient, Float<W> before) const {
        const Float<W> weight_gradient = gradient * (i * z - before);
        const Float<W> z_gradient = gradient * weight * i;
        // A clamped gamma has no gradient.
        const auto inside = (decayed > kLeast) & (decayed < kMost);
        const Float<W> gamma_gradient = inside ? weight_gradient * g * -gamma : fill<W>(0.0f);
        return {gamma_gradient * not_gamma, gamma_gradient * not_context, z_gradient * z * not_i,
                weight_gradient * weight * not_g, z_gradient};
    }

    // The gradient of h[t-1], but for what reaches it through gates that see it.
    Float<W> carry(Float<W> gradient) const { return gradient - weight * gradient; }
};

}  // namespace mm_rec::MM_REC_ISA
