// Code points, and what each of them is, as Python has it.
#pragma once

#include <array>
#include <cstdint>

namespace ivme {

using CodePoint = uint32_t;

// As Python's str methods have them; kWord and kSpace are \w and \s of `re`.
enum CharacterKind : uint8_t {
    kWord = 1,
    kSpace = 2,
    kLetter = 4,
    kUpper = 8,
    kLower = 16,
    kDigit = 32,
};

// Looks ASCII up in a table, and asks about all others.
class CharacterKinds {
public:
    explicit CharacterKinds(uint8_t (*ask)(CodePoint)) : ask_(ask) {
        for (CodePoint point = 0; point < ascii_.size(); ++point) ascii_[point] = ask(point);
    }
    uint8_t of(CodePoint point) const {
        return point < ascii_.size() ? ascii_[point] : ask_(point);
    }
    bool is(uint8_t kinds, CodePoint point) const { return (of(point) & kinds) != 0; }

private:
    std::array<uint8_t, 128> ascii_{};
    uint8_t (*ask_)(CodePoint);
};

constexpr uint64_t kEmptyHash = 0x9E3779B97F4A7C15ull;
inline uint64_t extend_hash(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0xBF58476D1CE4E5B9ull;
    return hash ^ (hash >> 29);
}

}  // namespace ivme
