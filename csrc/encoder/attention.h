// Attention of one head over one text, in bfloat16 with sums in float32.
#pragma once

#include "approximations.h"
#include "kernels/transpose.h"
#include "products.h"
#include "row_steps.h"

namespace mm_rec::MM_REC_ISA {

constexpr float kLog2E = 1.44269504f;
constexpr int64_t kTokens = 32;  // lengths are rounded up to this, inside only

inline int64_t rounded(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

// Where one head of one text finds its queries, keys and values, and puts its answers.
struct Head {
    const bf16* queries;
    const bf16* keys;
    const bf16* values;
    int64_t stride;  // values between tokens
    int64_t tokens;
    int64_t size;    // a multiple of 16
    float* answers;  // [tokens, size], `answer_stride` apart
    int64_t answer_stride;
};

// Memory of one thread for texts of `longest` tokens.
struct AttentionMemory {
    int8_t* keys;    // panels
    int8_t* values;  // panels
    float* scores;   // [kBlock, tokens] in units of 32 columns
    bf16* shares;    // [kBlock, tokens]

    AttentionMemory(uint8_t* from, int64_t longest, int64_t size) {
        const int64_t tokens = rounded(longest, kTokens);
        const int64_t panel_bytes = tokens * rounded(size, kUnit) * 2;
        keys = reinterpret_cast<int8_t*>(from);
        values = keys + panel_bytes;
        scores = reinterpret_cast<float*>(values + panel_bytes);
        shares = reinterpret_cast<bf16*>(scores + kSlack * tokens);
    }

    static int64_t bytes(int64_t longest, int64_t size) {
        const int64_t tokens = rounded(longest, kTokens);
        return 2 * tokens * rounded(size, kUnit) * 2 + kSlack * tokens * 6;
    }
};

// keys [tokens, size] -> panels of 16 tokens: [tokens / 16][size / 2][16][2]. Behind the last token
// stands what lies behind the text.
inline void pack_keys(const Head& head, int8_t* panels) {
    const int64_t groups = rounded(head.size, kUnit) / 2, own = head.size / 2;
    for (int64_t t = 0; t < head.tokens; t += kPanel, panels += groups * 64) {
        const auto pairs = reinterpret_cast<const float*>(head.keys + t * head.stride);
        transpose(pairs, head.stride / 2, kPanel, groups, reinterpret_cast<float*>(panels), kPanel);
        if (own < groups)
            __builtin_memset(panels + own * 64, 0, static_cast<size_t>((groups - own) * 64));
    }
}

// values [tokens, size] -> panels of 16 columns: [size / 16][tokens / 2][16][2], zeros behind.
inline void pack_values(const Head& head, int8_t* panels) {
    const int64_t groups = rounded(head.tokens, kTokens) / 2;
    for (int64_t c = 0; c < rounded(head.size, kUnit); c += kPanel) {
        for (int64_t g = 0; g < groups; ++g, panels += 64) {
            __m512i pair = _mm512_setzero_si512();
            const bf16* from = head.values + 2 * g * head.stride + c;
            const auto row = [](const bf16* at) {
                return _mm512_cvtepu16_epi32(
                    _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
            };
            if (c < head.size && 2 * g < head.tokens) pair = row(from);
            if (c < head.size && 2 * g + 1 < head.tokens)
                pair = _mm512_or_si512(pair, _mm512_slli_epi32(row(from + head.stride), 16));
            _mm512_storeu_si512(panels, pair);
        }
    }
}

inline __mmask16 first_lanes(int64_t count) {
    return count >= 16 ? 0xffff : count <= 0 ? 0 : static_cast<__mmask16>((1u << count) - 1);
}

// shares = 2^(rate * (scores - highest)), 0 behind the last token; returns 1 / their sum. Scores
// are [tokens / 32][kBlock][32], `row` one of the block's.
inline float soften(const float* scores, int64_t row, bf16* shares, int64_t tokens, float rate) {
    const int64_t all = rounded(tokens, kTokens);
    const auto at = [&](int64_t t) {
        return scores + (t / kUnit * kSlack + row) * kUnit + t % kUnit;
    };
    Float<16> high = fill<16>(-3e38f);
    for (int64_t t = 0; t < all; t += 16) {
        const __mmask16 there = first_lanes(tokens - t);
        high = (Float<16>)_mm512_mask_max_ps((__m512)high, there, (__m512)high,
                                             (__m512)load<16>(at(t)));
    }
    const float highest = _mm512_reduce_max_ps((__m512)high);
    Float<16> sum = fill<16>(0.0f);
    for (int64_t t = 0; t < all; t += 16) {
        const __mmask16 there = first_lanes(tokens - t);
        const Float<16> power = rough_power_of_2((load<16>(at(t)) - highest) * rate);
        const Float<16> share = (Float<16>)_mm512_maskz_mov_ps(there, (__m512)power);
        sum += share;
        store<16>(shares + t, share);
    }
    return 1.0f / sum_of(sum);
}

// Fills answers of the queries [first, end).
inline void attend(const Head& head, int64_t first, int64_t end, const AttentionMemory& memory) {
    const int64_t tokens = rounded(head.tokens, kTokens), size = rounded(head.size, kUnit);
    const float rate = kLog2E / __builtin_sqrtf(static_cast<float>(head.size));
    alignas(64) float mixed[kSlack * kUnit];
    float shrink[kSlack];
    Ahead nothing;
    pack_keys(head, memory.keys);
    pack_values(head, memory.values);
    for (int64_t q = first; q < end; q += kBlock) {
        const int64_t count = end - q < kBlock ? end - q : kBlock;
        for (int64_t t = 0; t < tokens; t += kUnit)
            multiply_block<Bf16Dot>(
                reinterpret_cast<const uint8_t*>(head.queries + q * head.stride), head.stride * 2,
                count, memory.keys + t * size * 2, size / 2, memory.scores + t * kSlack, nothing,
                0);
        for (int64_t r = 0; r < count; ++r)
            shrink[r] = soften(memory.scores, r, memory.shares + r * tokens, head.tokens, rate);
        for (int64_t c = 0; c < head.size; c += kUnit) {
            multiply_block<Bf16Dot>(reinterpret_cast<const uint8_t*>(memory.shares), tokens * 2,
                                    count, memory.values + c * tokens * 2, tokens / 2, mixed,
                                    nothing, 0);
            for (int64_t r = 0; r < count; ++r)
                for (int64_t i = 0; i < kUnit && c + i < head.size; i += 16)
                    store<16>(head.answers + (q + r) * head.answer_stride + c + i,
                              load<16>(mixed + r * kUnit + i) * shrink[r]);
        }
    }
}

}  // namespace mm_rec::MM_REC_ISA
