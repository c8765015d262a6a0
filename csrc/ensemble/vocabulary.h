// N-grams by their numbers, each found by one look into one table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "characters.h"

namespace ivme {

// A text, and beside it a byte for each code point: one more than it, 0 where that does not fit.
class Spelling {
public:
    explicit Spelling(std::vector<CodePoint> points);
    size_t size() const { return points_.size(); }
    const CodePoint* points() const { return points_.data(); }

    // A number for the code points from `start` on. Up to seven that fit bytes are told apart
    // always; other numbers have the highest bit set, and are rarely, but may be, the same.
    uint64_t key(size_t start, size_t length) const {
        if (length < sizeof(uint64_t)) {
            const uint64_t bytes = bytes_at(start, length);
            if (all_fit(bytes, length)) return bytes;
        }
        return hash(start, length) | kIsHash;
    }
    static bool is_exact(uint64_t key) { return (key & kIsHash) == 0; }

private:
    static constexpr uint64_t kIsHash = 1ull << 63;
    static constexpr uint64_t kOnes = 0x0101010101010101ull;

    uint64_t bytes_at(size_t start, size_t length) const {
        uint64_t bytes;
        std::memcpy(&bytes, &bytes_[start], sizeof bytes);
        return length < sizeof bytes ? bytes & ((1ull << (8 * length)) - 1) : bytes;
    }
    // Whether none of the first bytes is 0.
    static bool all_fit(uint64_t bytes, size_t length) {
        if (length < sizeof bytes) bytes |= ~0ull << (8 * length);
        return ((bytes - kOnes) & ~bytes & (kOnes << 7)) == 0;
    }
    uint64_t hash(size_t start, size_t length) const;

    std::vector<CodePoint> points_;
    std::vector<uint8_t> bytes_;  // and eight zeros at the end
};

// A perfect hash: n-grams share buckets, and each bucket is displaced so that no two n-grams share
// a slot. What is found there is the n-gram, or none is. Throws if an n-gram is there twice.
class Vocabulary {
public:
    explicit Vocabulary(const std::vector<std::vector<CodePoint>>& ngrams);
    size_t size() const { return starts_.size() - 1; }

    // The number of the n-gram in the text, or size() for none.
    uint32_t find(const Spelling& text, size_t start, size_t length) const {
        const uint64_t key = text.key(start, length);
        const Slot& slot = slots_[slot_of(key, displacements_[bucket_of(key)])];
        const uint32_t number = slot.key == key ? slot.number : static_cast<uint32_t>(size());
        if (Spelling::is_exact(key) || is_same(number, text, start, length)) return number;
        return static_cast<uint32_t>(size());
    }

private:
    struct Slot {
        uint64_t key;
        uint32_t number;
    };

    static uint64_t scaled(uint64_t hash, uint64_t count) { return ((hash >> 32) * count) >> 32; }
    uint64_t bucket_of(uint64_t key) const {
        return scaled(key * kEmptyHash, displacements_.size());
    }
    uint64_t slot_of(uint64_t key, uint32_t displacement) const {
        return scaled(extend_hash(key, displacement * kEmptyHash) * kEmptyHash, slots_.size());
    }
    bool is_same(uint32_t number, const Spelling& text, size_t start, size_t length) const;
    std::vector<std::vector<uint32_t>> full_buckets() const;
    void place(const std::vector<uint32_t>& bucket);

    Spelling spelled_;              // all n-grams, one after the other
    std::vector<uint32_t> starts_;  // [ngrams + 1], into spelled_
    std::vector<Slot> slots_;
    std::vector<uint32_t> displacements_;  // [buckets]
};

}  // namespace ivme
