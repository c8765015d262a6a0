// What is done to one row at a time: normalize, quantize; vectors of 16, rows in multiples of 32.
#pragma once

#include "encoder.h"
#include "kernels/activations.h"
#include "kernels/simd.h"

namespace mm_rec::MM_REC_ISA {

// Rows in u8: a value is low + scale * byte.
struct QuantizedRows {
    uint8_t* bytes;  // [R, depth]
    float* scales;   // [R]
    float* lows;     // [R]
    int64_t depth;
};

inline float sum_of(Float<16> values) { return _mm512_reduce_add_ps((__m512)values); }

template <class Value>
inline void quantize_row(const Value* from, const QuantizedRows& to, int64_t row) {
    Float<16> high = load<16>(from);
    Float<16> low = high;
    for (int64_t c = 16; c < to.depth; c += 16) {
        const Float<16> value = load<16>(from + c);
        high = larger<16>(value, high);
        low = smaller<16>(value, low);
    }
    const float lowest = _mm512_reduce_min_ps((__m512)low);
    const float range = _mm512_reduce_max_ps((__m512)high) - lowest;
    const float rate = range > 1e-30f ? 255.0f / range : 0.0f;
    uint8_t* bytes = to.bytes + row * to.depth;
    for (int64_t c = 0; c < to.depth; c += 16) {
        const Float<16> steps = (load<16>(from + c) - lowest) * rate;
        _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes + c),
                         _mm512_cvtusepi32_epi8(_mm512_cvtps_epu32((__m512)steps)));
    }
    to.scales[row] = range > 1e-30f ? range / 255.0f : 0.0f;
    to.lows[row] = lowest;
}

// row = (row - mean) / deviation * weight + bias
inline void normalize_row(float* row, const Norm& norm, int64_t width, float eps) {
    Float<16> sum = fill<16>(0.0f);
    for (int64_t c = 0; c < width; c += 16) sum += load<16>(row + c);
    const float mean = sum_of(sum) / static_cast<float>(width);
    Float<16> squares = fill<16>(0.0f);
    for (int64_t c = 0; c < width; c += 16) {
        const Float<16> off = load<16>(row + c) - mean;
        squares += off * off;
    }
    const float variance = sum_of(squares) / static_cast<float>(width);
    const float rate = 1.0f / __builtin_sqrtf(variance + eps);
    for (int64_t c = 0; c < width; c += 16) {
        const Float<16> value = (load<16>(row + c) - mean) * rate;
        store<16>(row + c, value * load<16>(norm.weight + c) + load<16>(norm.bias + c));
    }
}

// Turns sums of products in 16 columns into what they stand for.
class Columns {
public:
    Columns(const QuantizedLinear& linear, int64_t column)
        : scales_(load<16>(linear.scales + column)),
          column_sums_(load<16>(linear.column_sums + column) * scales_),
          bias_(load<16>(linear.bias + column)) {}

    // sums: of one row; scale and low: of its bytes.
    Float<16> value(const int32_t* sums, float scale, float low) const {
        const Float<16> counted = (Float<16>)_mm512_cvtepi32_ps(_mm512_loadu_si512(sums));
        return counted * (scales_ * scale) + (column_sums_ * low + bias_);
    }

private:
    Float<16> scales_;
    Float<16> column_sums_;
    Float<16> bias_;
};

}  // namespace mm_rec::MM_REC_ISA
