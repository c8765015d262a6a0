// What is done to one row at a time: normalize, quantize; vectors of 16, rows in multiples of 32.
#pragma once

#include "approximations.h"
#include "encoder.h"
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

// Writes the bytes of a row whose values lie within [lowest, highest].
template <class Value>
inline void quantize_within(const Value* from, float lowest, float highest, const QuantizedRows& to,
                            int64_t row) {
    const float range = highest - lowest;
    const bool is_flat = range <= 1e-30f;
    const float rate = is_flat ? 0.0f : 255.0f / range;
    const float shift = -lowest * rate;
    uint8_t* bytes = to.bytes + row * to.depth;
    for (int64_t c = 0; c < to.depth; c += 16) {
        const Float<16> steps = load<16>(from + c) * rate + shift;
        // From signed numbers: rounding may leave the lowest a hair below 0.
        const __m512i whole = _mm512_max_epi32(_mm512_cvtps_epi32((__m512)steps), __m512i{});
        _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes + c), _mm512_cvtusepi32_epi8(whole));
    }
    to.scales[row] = is_flat ? 0.0f : range / 255.0f;
    to.lows[row] = lowest;
}

// The extremes of what was seen.
struct Extremes {
    Float<16> low = fill<16>(3e38f);
    Float<16> high = fill<16>(-3e38f);

    void see(Float<16> value) {
        high = larger<16>(value, high);
        low = smaller<16>(value, low);
    }
    float lowest() const { return _mm512_reduce_min_ps((__m512)low); }
    float highest() const { return _mm512_reduce_max_ps((__m512)high); }
};

inline void quantize_row(const float* from, const QuantizedRows& to, int64_t row) {
    Extremes seen;
    for (int64_t c = 0; c < to.depth; c += 16) seen.see(load<16>(from + c));
    quantize_within(from, seen.lowest(), seen.highest(), to, row);
}

// A row that GELU gave: its lowest value is known, and the highest is that of its bits, which are
// ordered as the numbers above 0 are.
inline void quantize_activated_row(const bf16* from, const QuantizedRows& to, int64_t row) {
    __m512i high = _mm512_setzero_si512();
    for (int64_t c = 0; c < to.depth; c += 32)
        high = _mm512_max_epi16(high, _mm512_loadu_si512(from + c));
    int16_t bits[32];
    _mm512_storeu_si512(bits, high);
    int16_t highest = 0;
    for (const int16_t one : bits)
        if (one > highest) highest = one;
    const uint32_t whole = static_cast<uint32_t>(highest) << 16;
    float value;
    __builtin_memcpy(&value, &whole, sizeof(value));
    quantize_within(from, kLeastGelu, value, to, row);
}

// row = (row - mean) / deviation * weight + bias, and the same in bytes, as row `number` of `to`.
inline void normalize_row(float* row, const Norm& norm, float eps, const QuantizedRows& to,
                          int64_t number) {
    const int64_t width = to.depth;
    // Around the first value: squares around 0 would lose what a large mean leaves.
    const float near = row[0];
    Float<16> sum = fill<16>(0.0f), squares = fill<16>(0.0f);
    for (int64_t c = 0; c < width; c += 16) {
        const Float<16> off = load<16>(row + c) - near;
        sum += off;
        squares += off * off;
    }
    const float count = static_cast<float>(width);
    const float off = sum_of(sum) / count;
    const float variance = sum_of(squares) / count - off * off;
    const float rate = 1.0f / __builtin_sqrtf((variance > 0.0f ? variance : 0.0f) + eps);
    const float mean = near + off;
    Extremes seen;
    for (int64_t c = 0; c < width; c += 16) {
        const Float<16> value =
            (load<16>(row + c) - mean) * rate * load<16>(norm.weight + c) + load<16>(norm.bias + c);
        seen.see(value);
        store<16>(row + c, value);
    }
    quantize_within(row, seen.lowest(), seen.highest(), to, number);
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
