// N-grams of a text that are in a vocabulary, and their weights: the columns of TF-IDF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "characters.h"
#include "vocabulary.h"

namespace ivme {

enum class Splitting { kWords, kTokens, kCharacters, kCharactersInWords };

// How to split: n-grams of `shortest` to `longest` words or characters.
struct NgramKind {
    Splitting splitting;
    size_t shortest;
    size_t longest;
};

// Weighs the n-grams of texts; whoever calls makes them lower-case first, where that is wanted.
class NgramBlock {
public:
    // idf: of each n-gram. weight_of_count: of n-grams that are in a text 0, 1, 2, ... times; the
    // logarithm goes on where it ends. Where it is empty, a count weighs what it is.
    NgramBlock(NgramKind kind, CharacterKinds kinds,
               const std::vector<std::vector<CodePoint>>& ngrams, std::vector<double> idf,
               std::vector<double> weight_of_count);
    size_t size() const { return vocabulary_.size(); }

    // Appends `first` and the number of each n-gram in the text, rising, and its weight; the
    // weights have length 1 together.
    void weigh(const std::vector<CodePoint>& text, int32_t first, std::vector<int32_t>& columns,
               std::vector<double>& weights) const;

private:
    template <typename See>
    void split(const std::vector<CodePoint>& text, const See& see) const;
    template <typename See>
    void split_words(const std::vector<CodePoint>& text, const See& see) const;
    size_t end_of_word(const std::vector<CodePoint>& text, size_t at) const;
    template <typename See>
    void split_characters(const Spelling& text, const See& see) const;
    template <typename See>
    void split_characters_in_words(const std::vector<CodePoint>& text, const See& see) const;
    std::vector<CodePoint> collapsed(const std::vector<CodePoint>& text) const;
    double weight_of(uint32_t count) const;

    NgramKind kind_;
    CharacterKinds kinds_;
    Vocabulary vocabulary_;
    std::vector<double> idf_;
    std::vector<double> weight_of_count_;
};

// Returns the text with its words one blank apart, without white space at its ends.
std::vector<CodePoint> with_single_blanks(const std::vector<CodePoint>& text,
                                          const CharacterKinds& kinds);

}  // namespace ivme
