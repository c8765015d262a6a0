#include "ngrams.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace ivme {
namespace {

constexpr CodePoint kBlank = ' ';

uint64_t hash_of(const std::vector<CodePoint>& ngram) {
    uint64_t hash = kEmptyHash;
    for (const CodePoint point : ngram) hash = extend_hash(hash, point);
    return hash;
}

// Where many of the vocabulary were found, going through all of it is faster than sorting.
void put_in_order(std::vector<int32_t>& numbers, const std::vector<uint32_t>& found) {
    constexpr size_t kSparse = 64;
    if (numbers.size() * kSparse < found.size()) return std::sort(numbers.begin(), numbers.end());
    numbers.clear();
    for (size_t number = 0; number < found.size(); ++number)
        if (found[number]) numbers.push_back(static_cast<int32_t>(number));
}

}  // namespace

Vocabulary::Vocabulary(const std::vector<std::vector<CodePoint>>& ngrams) : starts_{0} {
    size_t slots = 16;
    while (slots < 2 * ngrams.size()) slots *= 2;
    mask_ = slots - 1;
    slots_.assign(slots, {});
    for (const auto& ngram : ngrams) {
        const uint64_t hash = hash_of(ngram);
        size_t slot = hash & mask_;
        while (slots_[slot].number >= 0) slot = (slot + 1) & mask_;
        slots_[slot] = {static_cast<int32_t>(starts_.size() - 1), static_cast<uint32_t>(hash >> 32)};
        points_.insert(points_.end(), ngram.begin(), ngram.end());
        starts_.push_back(points_.size());
    }
}

int32_t Vocabulary::find(uint64_t hash, const CodePoint* points, size_t length) const {
    const uint32_t tag = static_cast<uint32_t>(hash >> 32);
    for (size_t at = hash & mask_; slots_[at].number >= 0; at = (at + 1) & mask_) {
        if (slots_[at].tag != tag) continue;
        const int32_t number = slots_[at].number;
        const size_t start = starts_[number];
        if (starts_[number + 1] - start == length &&
            std::memcmp(&points_[start], points, length * sizeof(CodePoint)) == 0)
            return number;
    }
    return -1;
}

void NgramCounter::count(const std::vector<CodePoint>& text, std::vector<int32_t>& numbers,
                         std::vector<double>& counts) const {
    std::vector<uint32_t> found(vocabulary_.size(), 0);
    split(text, [&](uint64_t hash, const CodePoint* points, size_t length) {
        const int32_t number = vocabulary_.find(hash, points, length);
        if (number < 0) return;
        if (found[number]++ == 0) numbers.push_back(number);
    });
    put_in_order(numbers, found);
    for (const int32_t number : numbers) counts.push_back(found[number]);
}

template <typename See>
void NgramCounter::split(const std::vector<CodePoint>& text, const See& see) const {
    switch (splitting_) {
        case Splitting::kWords:
        case Splitting::kTokens:
            return split_words(text, see);
        case Splitting::kCharacters:
            return split_characters(collapsed(text), see);
        case Splitting::kCharactersInWords:
            return split_characters_in_words(text, see);
    }
}

// Where the word ends that starts here, or `at` if none does. A word is a run of letters, digits and
// underscores, two at least; among tokens one is enough, and every mark is a token of its own.
size_t NgramCounter::end_of_word(const std::vector<CodePoint>& text, size_t at) const {
    size_t end = at;
    while (end < text.size() && kinds_.is_word(text[end])) ++end;
    if (splitting_ == Splitting::kWords) return end - at >= 2 ? end : at;
    return end == at && !kinds_.is_space(text[at]) ? at + 1 : end;
}

// Words join with one blank.
template <typename See>
void NgramCounter::split_words(const std::vector<CodePoint>& text, const See& see) const {
    std::vector<CodePoint> joined;
    std::vector<std::pair<size_t, size_t>> words;  // start and end in `joined`
    for (size_t at = 0; at < text.size();) {
        const size_t end = end_of_word(text, at);
        if (end > at) {
            words.emplace_back(joined.size(), joined.size() + end - at);
            joined.insert(joined.end(), text.begin() + at, text.begin() + end);
            joined.push_back(kBlank);
        }
        at = end > at ? end : at + 1;
    }
    for (size_t first = 0; first < words.size(); ++first) {
        const size_t start = words[first].first;
        uint64_t hash = kEmptyHash;
        size_t at = start;
        for (size_t n = 1; n <= longest_ && first + n <= words.size(); ++n) {
            for (const size_t end = words[first + n - 1].second; at < end; ++at)
                hash = extend_hash(hash, joined[at]);
            if (n >= shortest_) see(hash, &joined[start], at - start);
        }
    }
}

// Without runs of white space: each becomes one blank.
std::vector<CodePoint> NgramCounter::collapsed(const std::vector<CodePoint>& text) const {
    std::vector<CodePoint> kept;
    kept.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
        size_t end = at;
        while (end < text.size() && kinds_.is_space(text[end])) ++end;
        kept.push_back(end - at >= 2 ? kBlank : text[at]);
        at = end > at ? end : at + 1;
    }
    return kept;
}

template <typename See>
void NgramCounter::split_characters(const std::vector<CodePoint>& text, const See& see) const {
    for (size_t start = 0; start < text.size(); ++start) {
        uint64_t hash = kEmptyHash;
        for (size_t n = 1; n <= longest_ && start + n <= text.size(); ++n) {
            hash = extend_hash(hash, text[start + n - 1]);
            if (n >= shortest_) see(hash, &text[start], n);
        }
    }
}

// Each word with a blank on both sides; one shorter than a length counts once, whole.
template <typename See>
void NgramCounter::split_characters_in_words(const std::vector<CodePoint>& text,
                                             const See& see) const {
    std::vector<CodePoint> padded;
    for (size_t at = 0; at < text.size();) {
        size_t end = at;
        while (end < text.size() && !kinds_.is_space(text[end])) ++end;
        if (end > at) {
            padded.assign(1, kBlank);
            padded.insert(padded.end(), text.begin() + at, text.begin() + end);
            padded.push_back(kBlank);
            split_characters(padded, see);
            if (padded.size() < shortest_) {
                uint64_t hash = kEmptyHash;
                for (const CodePoint point : padded) hash = extend_hash(hash, point);
                see(hash, padded.data(), padded.size());
            }
        }
        at = end > at ? end : at + 1;
    }
}

}  // namespace ivme
