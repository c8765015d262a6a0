// exp(x) for vectors, to 1 unit in the last place or so, without tables.
#pragma once

#include "kernels/simd.h"

namespace mm_rec::MM_REC_ISA {

// Comparisons are written so that a NaN in `value` comes through.
template <int W>
inline Float<W> clamp(Float<W> value, float low, float high) {
    const Float<W> above = fill<W>(low) > value ? fill<W>(low) : value;
    return fill<W>(high) < above ? fill<W>(high) : above;
}

// The bits of 1.0f.
constexpr uint32_t kOneExponent = 0x3f800000u;

// x in [-87, 88]: the result is a normal number. A NaN stays a NaN.
template <int W>
inline Float<W> exponential(Float<W> x) {
    constexpr float kLog2E = 1.44269504f;
    // Adding this rounds to an integer, which then stands in the lowest bits.
    constexpr float kRounder = 12582912.0f;
    // log(2) in two parts, so that n * log(2) is subtracted without loss.
    constexpr float kLog2High = 0.693359375f;
    constexpr float kLog2Low = -2.12194440e-4f;
    const Float<W> shifted = x * kLog2E + kRounder;
    const Float<W> n = shifted - kRounder;
    const Float<W> r = x - n * kLog2High - n * kLog2Low;
    // Taylor series to r^7: |r| < 0.347, so what is left out is below 1e-8.
    Float<W> p = fill<W>(1.0f / 5040);
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const Bits<W> power = ((Bits<W>)shifted << 23) + kOneExponent;
    return p * (Float<W>)power;
}

}  // namespace mm_rec::MM_REC_ISA
