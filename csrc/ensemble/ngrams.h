// N-grams of a text, found in a vocabulary: the columns that TF-IDF weighs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ivme {

using CodePoint = uint32_t;

enum class Splitting { kWords, kTokens, kCharacters, kCharactersInWords };

// N-grams by their numbers; equal ones are found by hash, then compared code point by code point.
class Vocabulary {
public:
    explicit Vocabulary(const std::vector<std::vector<CodePoint>>& ngrams);
    size_t size() const { return starts_.size() - 1; }
    // The number of the n-gram, or -1; `hash` is that of its code points by `extend_hash`.
    int32_t find(uint64_t hash, const CodePoint* points, size_t length) const;

private:
    std::vector<CodePoint> points_;  // all n-grams, one after the other
    std::vector<size_t> starts_;     // [ngrams + 1], into points_
    struct Slot {
        int32_t number = -1;  // -1 where free
        uint32_t tag = 0;     // the upper half of the hash
    };
    std::vector<Slot> slots_;  // open addressing; one cache line answers most questions
    size_t mask_ = 0;
};

constexpr uint64_t kEmptyHash = 0x9E3779B97F4A7C15ull;
inline uint64_t extend_hash(uint64_t hash, CodePoint point) {
    hash = (hash ^ point) * 0xBF58476D1CE4E5B9ull;
    return hash ^ (hash >> 29);
}

// What a code point is, as Python's `re` and `str.split` have it.
struct CharacterKinds {
    bool (*is_word)(CodePoint);
    bool (*is_space)(CodePoint);
};

// Counts the n-grams of texts; whoever calls makes them lower-case first, where that is wanted.
class NgramCounter {
public:
    NgramCounter(Splitting splitting, size_t shortest, size_t longest, CharacterKinds kinds,
                 const std::vector<std::vector<CodePoint>>& ngrams)
        : splitting_(splitting),
          shortest_(shortest),
          longest_(longest),
          kinds_(kinds),
          vocabulary_(ngrams) {}

    // Appends the numbers of the n-grams in the text, rising, and how often each is there.
    void count(const std::vector<CodePoint>& text, std::vector<int32_t>& numbers,
               std::vector<double>& counts) const;

private:
    std::vector<CodePoint> collapsed(const std::vector<CodePoint>& text) const;
    template <typename See>
    void split(const std::vector<CodePoint>& text, const See& see) const;
    template <typename See>
    void split_words(const std::vector<CodePoint>& text, const See& see) const;
    size_t end_of_word(const std::vector<CodePoint>& text, size_t at) const;
    template <typename See>
    void split_characters(const std::vector<CodePoint>& text, const See& see) const;
    template <typename See>
    void split_characters_in_words(const std::vector<CodePoint>& text, const See& see) const;

    Splitting splitting_;
    size_t shortest_;
    size_t longest_;
    CharacterKinds kinds_;
    Vocabulary vocabulary_;
};

}  // namespace ivme
