// Products of a block of rows with a unit of columns, for s8 by u8 and for bfloat16.
//
// Both count depth in groups of four bytes: four products of int8, or two of bfloat16, that one
// lane of an instruction adds up. A panel holds its 16 columns group by group, 64 bytes each.
#pragma once

#include <immintrin.h>

#include "encoder.h"
#include "kernels/simd.h"

namespace mm_rec::MM_REC_ISA {

constexpr int64_t kGroup = 4;  // bytes

struct Int8Dot {
    using Sums = __m512i;
    static Sums zero() { return _mm512_setzero_si512(); }
    static __m512i row(const uint8_t* from) {
        int32_t group;
        __builtin_memcpy(&group, from, sizeof(group));
        return _mm512_set1_epi32(group);
    }
    static Sums add(Sums sums, __m512i row, __m512i columns) {
        return _mm512_dpbusd_epi32(sums, row, columns);
    }
    static void store(void* to, Sums sums) { _mm512_storeu_si512(to, sums); }
};

struct Bf16Dot {
    using Sums = __m512;
    static Sums zero() { return _mm512_setzero_ps(); }
    static __m512i row(const uint8_t* from) { return Int8Dot::row(from); }
    static Sums add(Sums sums, __m512i row, __m512i columns) {
#if defined(__AVX512BF16__)
        return _mm512_dpbf16_ps(sums, (__m512bh)row, (__m512bh)columns);
#else
        const __m512i high = _mm512_set1_epi32(static_cast<int32_t>(0xffff0000u));
        sums = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_slli_epi32(row, 16)),
                               _mm512_castsi512_ps(_mm512_slli_epi32(columns, 16)), sums);
        return _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_and_si512(row, high)),
                               _mm512_castsi512_ps(_mm512_and_si512(columns, high)), sums);
#endif
    }
    static void store(void* to, Sums sums) { _mm512_storeu_ps(to, sums); }
};

// What is to be in the cache when the next unit begins, fetched while this one is computed.
struct Ahead {
    const int8_t* from = nullptr;
    const int8_t* end = nullptr;

    // Fetches the next `bytes`, a multiple of 64.
    void fetch(int64_t bytes) {
        for (const int8_t* stop = from + bytes; from < stop && from < end; from += 64)
            _mm_prefetch(reinterpret_cast<const char*>(from), _MM_HINT_T1);
    }
};

#if defined(__AMX_INT8__)

constexpr int64_t kBlock = 32;  // rows computed together

// GCC's loads of tiles do not say that they read memory: what was stored before must be there.
inline void settle_stores() { __asm__ volatile("" ::: "memory"); }

// Tiles 0 to 3: sums; 4 and 5: rows; 6 and 7: columns; each 16 rows of 64 bytes.
class Tiles {
public:
    Tiles() {
        struct alignas(64) {
            uint8_t palette = 1, start_row = 0, reserved[14] = {};
            uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
            uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
        } config;
        settle_stores();
        _tile_loadconfig(&config);
    }
    ~Tiles() { _tile_release(); }
    Tiles(const Tiles&) = delete;
    Tiles& operator=(const Tiles&) = delete;
};

// The four products of a block; the instructions take the numbers of tiles as they are written.
template <class Dot>
struct TileDot;
template <>
struct TileDot<Int8Dot> {
    static void upper_left() { _tile_dpbusd(0, 4, 6); }
    static void upper_right() { _tile_dpbusd(1, 4, 7); }
    static void lower_left() { _tile_dpbusd(2, 5, 6); }
    static void lower_right() { _tile_dpbusd(3, 5, 7); }
};
template <>
struct TileDot<Bf16Dot> {
    static void upper_left() { _tile_dpbf16ps(0, 4, 6); }
    static void upper_right() { _tile_dpbf16ps(1, 4, 7); }
    static void lower_left() { _tile_dpbf16ps(2, 5, 6); }
    static void lower_right() { _tile_dpbf16ps(3, 5, 7); }
};

// sums [count, 32] = rows [count, groups] x panels [2][groups][16], count being kBlock at most. Up
// to 31 rows behind the last may be read, and their sums written.
template <class Dot>
inline void multiply_block(const uint8_t* rows, int64_t row_bytes, int64_t count,
                           const int8_t* panels, int64_t groups, void* sums, Ahead& ahead,
                           int64_t ahead_bytes) {
    using Tile = TileDot<Dot>;
    const int8_t* second = panels + groups * 64;
    uint8_t* to = static_cast<uint8_t*>(sums);
    constexpr int64_t kSumBytes = kUnit * 4;
    settle_stores();
    _tile_zero(0);
    _tile_zero(1);
    if (count > 16) {
        _tile_zero(2);
        _tile_zero(3);
        // In pieces: all at once would fill the buffers that loads of tiles wait for.
        const int64_t piece = ahead_bytes / 4;
        for (int64_t g = 0; g < groups; g += 16) {
            _tile_loadd(6, panels + g * 64, 64);
            _tile_loadd(4, rows + g * kGroup, row_bytes);
            ahead.fetch(piece);
            _tile_loadd(7, second + g * 64, 64);
            Tile::upper_left();
            ahead.fetch(piece);
            _tile_loadd(5, rows + 16 * row_bytes + g * kGroup, row_bytes);
            Tile::upper_right();
            ahead.fetch(piece);
            Tile::lower_left();
            ahead.fetch(piece);
            Tile::lower_right();
        }
        _tile_stored(2, to + 16 * kSumBytes, kSumBytes);
        _tile_stored(3, to + 16 * kSumBytes + 64, kSumBytes);
    } else {
        for (int64_t g = 0; g < groups; g += 16) {
            _tile_loadd(6, panels + g * 64, 64);
            _tile_loadd(4, rows + g * kGroup, row_bytes);
            _tile_loadd(7, second + g * 64, 64);
            Tile::upper_left();
            ahead.fetch(ahead_bytes);
            Tile::upper_right();
        }
    }
    _tile_stored(0, to, kSumBytes);
    _tile_stored(1, to + 64, kSumBytes);
}

#else

constexpr int64_t kBlock = 12;  // rows computed together: 24 registers of sums

class Tiles {};  // none here

template <class Dot, int Rows>
inline void multiply_rows(const uint8_t* rows, int64_t row_bytes, const int8_t* panels,
                          int64_t groups, void* sums, Ahead& ahead, int64_t ahead_bytes) {
    const int8_t* second = panels + groups * 64;
    typename Dot::Sums total[Rows][2];  // in registers, if all loops over rows are unrolled
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) total[r][0] = total[r][1] = Dot::zero();
    for (int64_t g = 0; g < groups; ++g) {
        const __m512i left = _mm512_loadu_si512(panels + g * 64);
        const __m512i right = _mm512_loadu_si512(second + g * 64);
        if (g % 16 == 0) ahead.fetch(ahead_bytes);
#pragma GCC unroll 12
        for (int r = 0; r < Rows; ++r) {
            const __m512i row = Dot::row(rows + r * row_bytes + g * kGroup);
            total[r][0] = Dot::add(total[r][0], row, left);
            total[r][1] = Dot::add(total[r][1], row, right);
        }
    }
    uint8_t* to = static_cast<uint8_t*>(sums);
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) {
        Dot::store(to + r * kUnit * 4, total[r][0]);
        Dot::store(to + r * kUnit * 4 + 64, total[r][1]);
    }
}

template <class Dot, int Rows = static_cast<int>(kBlock)>
inline void multiply_block(const uint8_t* rows, int64_t row_bytes, int64_t count,
                           const int8_t* panels, int64_t groups, void* sums, Ahead& ahead,
                           int64_t ahead_bytes) {
    if (count == Rows)
        return multiply_rows<Dot, Rows>(rows, row_bytes, panels, groups, sums, ahead, ahead_bytes);
    if constexpr (Rows > 1)
        multiply_block<Dot, Rows - 1>(rows, row_bytes, count, panels, groups, sums, ahead,
                                      ahead_bytes);
}

#endif

}  // namespace mm_rec::MM_REC_ISA
