// Vectors of W floats on the compiler's vector extension: the same source becomes SSE2 or NEON,
// AVX2 or AVX-512 code by flags alone. Everything lives in the instruction set's own namespace and
// uses no templates of the standard library: the linker keeps one copy of an inline function, and
// it must not be one that this processor cannot run.
#pragma once

#include <cstdint>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace mm_rec::MM_REC_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

struct bf16 {
    uint16_t bits;
};

template <int W>
struct Vector {
    typedef float Float __attribute__((vector_size(4 * W)));
    typedef int32_t Int __attribute__((vector_size(4 * W)));
    typedef uint32_t Bits __attribute__((vector_size(4 * W)));
    typedef uint16_t Half __attribute__((vector_size(2 * W)));
};
template <int W>
using Float = typename Vector<W>::Float;
template <int W>
using Int = typename Vector<W>::Int;
template <int W>
using Bits = typename Vector<W>::Bits;
template <int W>
using Half = typename Vector<W>::Half;

template <int W>
inline Float<W> fill(float value) {
    return Float<W>{} + value;
}

template <int W>
inline Float<W> load(const float* from) {
    Float<W> value;
    __builtin_memcpy(&value, from, sizeof(value));
    return value;
}

template <int W>
inline Float<W> load(const bf16* from) {
    Half<W> half;
    __builtin_memcpy(&half, from, sizeof(half));
    const Bits<W> bits = __builtin_convertvector(half, Bits<W>) << 16;
    return (Float<W>)bits;
}

template <int W>
inline void store(float* to, Float<W> value) {
    __builtin_memcpy(to, &value, sizeof(value));
}

// The larger and the smaller of both; a NaN in `b` comes through.
template <int W>
inline Float<W> larger(Float<W> a, Float<W> b) {
#if defined(__AVX512F__)
    if constexpr (W == 16) return (Float<W>)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    if constexpr (W == 8) return (Float<W>)_mm256_max_ps((__m256)a, (__m256)b);
#endif
    return a > b ? a : b;
}

template <int W>
inline Float<W> smaller(Float<W> a, Float<W> b) {
#if defined(__AVX512F__)
    if constexpr (W == 16) return (Float<W>)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    if constexpr (W == 8) return (Float<W>)_mm256_min_ps((__m256)a, (__m256)b);
#endif
    return a < b ? a : b;
}

template <int W>
inline Float<W> clamp(Float<W> value, float low, float high) {
    return smaller<W>(fill<W>(high), larger<W>(fill<W>(low), value));
}

// 1 / value, to 1 unit in the last place; for normal numbers.
template <int W>
inline Float<W> reciprocal(Float<W> value) {
#if defined(__AVX512F__)
    // Estimate and one Newton step: half the time of a division.
    if constexpr (W == 16) {
        const Float<W> guess = (Float<W>)_mm512_rcp14_ps((__m512)value);
        return guess + guess * (1.0f - value * guess);
    }
#endif
    return 1.0f / value;
}

// 1 / sqrt(value), to 2 units in the last place; for normal numbers.
template <int W>
inline Float<W> inverse_root(Float<W> value) {
#if defined(__AVX512F__)
    // Estimate and one Newton step, as above.
    if constexpr (W == 16) {
        const Float<W> guess = (Float<W>)_mm512_rsqrt14_ps((__m512)value);
        return guess + guess * (0.5f - 0.5f * value * guess * guess);
    }
#endif
    Float<W> root;
    for (int lane = 0; lane < W; ++lane) root[lane] = __builtin_sqrtf(value[lane]);
    return 1.0f / root;
}

// Rounds to nearest, ties to even; a NaN stays a NaN.
template <int W>
inline Half<W> narrow(Float<W> value) {
#if defined(__AVX512BF16__)
    if constexpr (W == 16) return (Half<W>)_mm512_cvtneps_pbh((__m512)value);
#endif
    const Bits<W> bits = (Bits<W>)value;
    const Bits<W> rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const Bits<W> kept = value == value ? rounded : Bits<W>{} + 0x7fc0u;
    return __builtin_convertvector(kept, Half<W>);
}

template <int W>
inline void store(bf16* to, Float<W> value) {
    const Half<W> half = narrow<W>(value);
    __builtin_memcpy(to, &half, sizeof(half));
}

// Stores past the caches, which saves reading the line first. `to` is a multiple of the vector's
// size; other threads see the values after fence_streams().
template <int W>
inline void stream(float* to, Float<W> value) {
#if defined(__AVX512F__)
    if constexpr (W == 16) return _mm512_stream_ps(to, (__m512)value);
#endif
#if defined(__AVX2__)
    if constexpr (W == 8) return _mm256_stream_ps(to, (__m256)value);
#endif
#if defined(__SSE2__)
    if constexpr (W == 4) return _mm_stream_ps(to, (__m128)value);
#endif
    store<W>(to, value);
}

template <int W>
inline void stream(bf16* to, Float<W> value) {
    const Half<W> half = narrow<W>(value);
#if defined(__AVX2__)
    if constexpr (W == 16)
        return _mm256_stream_si256(reinterpret_cast<__m256i*>(to), (__m256i)half);
    if constexpr (W == 8) return _mm_stream_si128(reinterpret_cast<__m128i*>(to), (__m128i)half);
#endif
    __builtin_memcpy(to, &half, sizeof(half));
}

inline void fence_streams() {
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

}  // namespace mm_rec::MM_REC_ISA
