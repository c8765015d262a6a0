// exp(-x) for vectors, to 2e-7, without tables.
#pragma once

#include "kernels/simd.h"

namespace mm_rec::MM_REC_ISA {

// power * 2^n for a whole n; `shifted` holds n in its lowest bits.
template <int W>
inline Float<W> scale_by_power(Float<W> power, [[maybe_unused]] Float<W> n,
                               [[maybe_unused]] Float<W> shifted) {
#if defined(__AVX512F__)
    if constexpr (W == 16) return (Float<W>)_mm512_scalef_ps((__m512)power, (__m512)n);
#endif
    constexpr uint32_t kOneBits = 0x3f800000u;
    return power * (Float<W>)(((Bits<W>)shifted << 23) + kOneBits);
}

// |x| <= 87, so that the result is a normal number. A NaN stays a NaN.
template <int W>
inline Float<W> negative_exponential(Float<W> x) {
    constexpr float kMinusLog2E = -1.44269504f;
    // Adding this rounds to an integer, which then stands in the lowest bits.
    constexpr float kRounder = 12582912.0f;
    const Float<W> shifted = x * kMinusLog2E + kRounder;
    const Float<W> n = shifted - kRounder;
    const Float<W> r = x * kMinusLog2E - n;
    // Polynomial for 2^r, |r| <= 1/2, of least relative error: 2e-9, before rounding.
    Float<W> p = fill<W>(1.53458118e-4f);
    p = p * r + 1.33999312e-3f;
    p = p * r + 9.61848896e-3f;
    p = p * r + 5.55032878e-2f;
    p = p * r + 2.40226469e-1f;
    p = p * r + 6.93147206e-1f;
    p = p * r + 1.0f;
    return scale_by_power<W>(p, n, shifted);
}

}  // namespace mm_rec::MM_REC_ISA
