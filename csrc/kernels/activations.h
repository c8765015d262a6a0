// Sigmoid, SiLU and GELU of vectors, and the loop that applies such functions to a range.
#pragma once

#include "kernels/exponential.h"
#include "kernels/simd.h"

namespace mm_rec::MM_REC_ISA {

// How many channels a body works on, as a type.
template <int W>
struct Lanes {
    static constexpr int value = W;
};

// Calls body(Lanes<W>, c) for every vector of channels in [begin, end), then for ever shorter ones.
template <int W = kLanes, class Body>
inline void for_vectors(int64_t begin, int64_t end, Body body) {
    int64_t c = begin;
    for (; c + W <= end; c += W) body(Lanes<W>{}, c);
    if constexpr (W > 1) for_vectors<W / 2>(c, end, body);
}

template <int W>
inline Float<W> sigmoid(Float<W> x) {
    return reciprocal<W>(1.0f + negative_exponential<W>(clamp<W>(x, -87.0f, 87.0f)));
}

template <int W>
inline Float<W> silu(Float<W> x) {
    return x * sigmoid<W>(x);
}

// What GELU and its slope are made of: the normal distribution's share beyond |x|, and e^(-x^2/2).
template <int W>
struct NormalTail {
    Float<W> beyond;
    Float<W> power;

    // The share is e^(-x^2/2) times a polynomial in 1 / (1 + 0.3 |x|), fitted to least squares of
    // the relative error: 1.5e-7 at most.
    explicit NormalTail(Float<W> x) {
        const Float<W> size = smaller<W>(fill<W>(kEnd), x < 0.0f ? -x : x);
        const Float<W> t = reciprocal<W>(1.0f + 0.3f * size);
        Float<W> p = fill<W>(0.0356750824f);
        p = p * t - 0.157204417f;
        p = p * t + 0.206355855f;
        p = p * t - 0.0536858104f;
        p = p * t + 0.128562748f;
        p = p * t + 0.0999132224f;
        p = p * t + 0.120754004f;
        p = p * t + 0.119629294f;
        power = negative_exponential<W>(0.5f * size * size);
        beyond = p * t * power;
    }

    // The share below x.
    Float<W> below(Float<W> x) const { return x < 0.0f ? beyond : 1.0f - beyond; }

    static constexpr float kEnd = 13.19f;  // beyond, the power would be below the normal numbers
};

// x times the normal distribution's share below x.
template <int W>
inline Float<W> gelu(Float<W> x) {
    return x * NormalTail<W>(x).below(x);
}

// The derivative of gelu: the share below x, and x times the density.
template <int W>
inline Float<W> gelu_slope(Float<W> x) {
    constexpr float kInverseRootTwoPi = 0.398942280f;
    const NormalTail<W> tail(x);
    return tail.below(x) + x * tail.power * kInverseRootTwoPi;
}

}  // namespace mm_rec::MM_REC_ISA
