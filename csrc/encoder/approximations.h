// GELU and powers of e as exactly as what follows keeps them: bfloat16, and 8 bits after it.
#pragma once

#include "kernels/simd.h"

namespace mm_rec::MM_REC_ISA {

constexpr float kLeastGelu = -0.171f;  // below what GELU gives, rounded to bfloat16

// x times the normal distribution's share below x, to 7e-5 within [-4.2, 4.2], and to 3e-5 |x|
// beyond. The share is 1/2 + x times a polynomial in x^2, of least error in the product.
inline Float<16> rough_gelu(Float<16> x) {
    constexpr float kEnd = 4.2f;
    const Float<16> near = clamp<16>(x, -kEnd, kEnd);
    const Float<16> u = near * near * (2.0f / (kEnd * kEnd)) - 1.0f;
    Float<16> p = fill<16>(-0.00399178436f);
    p = p * u + 0.0112736042f;
    p = p * u - 0.0161285253f;
    p = p * u + 0.0236721576f;
    p = p * u - 0.0380536364f;
    p = p * u + 0.0559752774f;
    p = p * u - 0.0815601032f;
    p = p * u + 0.167853668f;
    return x * (0.5f + near * p);
}

// 2^x for x <= 0, to 8e-5 of it; 0 where that is below the normal numbers.
inline Float<16> rough_power_of_2(Float<16> x) {
    const __m512 whole =
        _mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const Float<16> r = x - (Float<16>)whole;
    Float<16> p = fill<16>(0.0551708f);
    p = p * r + 0.24260927f;
    p = p * r + 0.69326096f;
    p = p * r + 0.99992819f;
    return (Float<16>)_mm512_scalef_ps((__m512)p, whole);
}

}  // namespace mm_rec::MM_REC_ISA
