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

// The error function to 2e-7. Source: Abramowitz and Stegun, formula 7.1.26.
template <int W>
inline Float<W> error_function(Float<W> x) {
    const Float<W> size = x < 0.0f ? -x : x;
    const Float<W> t = 1.0f / (1.0f + 0.3275911f * size);
    Float<W> p = fill<W>(1.061405429f);
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    const Float<W> value =
        1.0f - p * t * negative_exponential<W>(clamp<W>(size * size, 0.0f, 87.0f));
    return x < 0.0f ? -value : value;
}

template <int W>
inline Float<W> gelu(Float<W> x) {
    return 0.5f * x * (1.0f + error_function<W>(x * 0.70710678f));
}

}  // namespace mm_rec::MM_REC_ISA
