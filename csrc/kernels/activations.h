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

// Calls body(Lanes<W>, c) for every vector of channels in [begin, end), then for each one left.
template <class Body>
inline void for_vectors(int64_t begin, int64_t end, Body body) {
    int64_t c = begin;
    for (; c + kLanes <= end; c += kLanes) body(Lanes<kLanes>{}, c);
    for (; c < end; ++c) body(Lanes<1>{}, c);
}

template <int W>
inline Float<W> sigmoid(Float<W> x) {
    return 1.0f / (1.0f + negative_exponential<W>(clamp<W>(x, -87.0f, 87.0f)));
}

template <int W>
inline Float<W> silu(Float<W> x) {
    return x * sigmoid<W>(x);
}

// x times the normal distribution's share below x. The share beyond |x| is e^(-x^2/2) times a
// polynomial in 1 / (1 + 0.3 |x|), fitted to least squares of the relative error: 1.5e-7 at most.
template <int W>
inline Float<W> gelu(Float<W> x) {
    const Float<W> size = x < 0.0f ? -x : x;
    const Float<W> t = 1.0f / (1.0f + 0.3f * size);
    Float<W> p = fill<W>(0.0356750824f);
    p = p * t - 0.157204417f;
    p = p * t + 0.206355855f;
    p = p * t - 0.0536858104f;
    p = p * t + 0.128562748f;
    p = p * t + 0.0999132224f;
    p = p * t + 0.120754004f;
    p = p * t + 0.119629294f;
    const Float<W> power = clamp<W>(0.5f * size * size, 0.0f, 87.0f);
    const Float<W> beyond = p * t * negative_exponential<W>(power);
    return x * (x < 0.0f ? beyond : 1.0f - beyond);
}

}  // namespace mm_rec::MM_REC_ISA
