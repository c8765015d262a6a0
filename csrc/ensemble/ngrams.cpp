#include "ngrams.h"

#include <cmath>
#include <utility>

namespace ivme {
namespace {

constexpr CodePoint kBlank = ' ';

// How often each number was seen. It is emptied as it is read, so that the next text finds it as
// new without going through all of it.
class Tally {
public:
    void prepare(size_t numbers) {
        if (counts_.size() < numbers) counts_.resize(numbers);
        if (is_seen_.size() < numbers / kBits + 1) is_seen_.resize(numbers / kBits + 1);
    }
    void add(uint32_t number) {
        ++counts_[number];
        is_seen_[number / kBits] |= 1ull << (number % kBits);
    }
    template <typename Read>
    void drain(const Read& read) {
        for (size_t at = 0; at < is_seen_.size(); ++at) {
            uint64_t left = is_seen_[at];
            is_seen_[at] = 0;
            for (; left; left &= left - 1) {
                const size_t number = at * kBits + static_cast<size_t>(__builtin_ctzll(left));
                read(static_cast<uint32_t>(number), counts_[number]);
                counts_[number] = 0;
            }
        }
    }

private:
    static constexpr size_t kBits = 64;
    std::vector<uint32_t> counts_;
    std::vector<uint64_t> is_seen_;
};

// Divides the weights from `first` on by their length.
void normalize(std::vector<double>& weights, size_t first) {
    std::vector<double> squares;
    squares.reserve(weights.size() - first);
    for (size_t at = first; at < weights.size(); ++at) squares.push_back(weights[at] * weights[at]);
    double sum = 0;  // one after the other, as scikit-learn adds: else the last bit may differ
    for (const double square : squares) sum += square;
    const double length = std::sqrt(sum);
    for (size_t at = first; at < weights.size(); ++at) weights[at] /= length;
}

}  // namespace

NgramBlock::NgramBlock(NgramKind kind, CharacterKinds kinds,
                       const std::vector<std::vector<CodePoint>>& ngrams, std::vector<double> idf,
                       std::vector<double> weight_of_count)
    : kind_(kind),
      kinds_(kinds),
      vocabulary_(ngrams),
      idf_(std::move(idf)),
      weight_of_count_(std::move(weight_of_count)) {}

void NgramBlock::weigh(const std::vector<CodePoint>& text, int32_t first,
                       std::vector<int32_t>& columns, std::vector<double>& weights) const {
    thread_local Tally tally;
    const uint32_t none = static_cast<uint32_t>(size());
    tally.prepare(size() + 1);
    split(text, [&](const Spelling& spelling, size_t start, size_t length) {
        tally.add(vocabulary_.find(spelling, start, length));
    });
    const size_t before = weights.size();
    tally.drain([&](uint32_t number, uint32_t count) {
        if (number == none) return;
        columns.push_back(first + static_cast<int32_t>(number));
        weights.push_back(weight_of(count) * idf_[number]);
    });
    normalize(weights, before);
}

double NgramBlock::weight_of(uint32_t count) const {
    if (weight_of_count_.empty()) return count;
    return count < weight_of_count_.size() ? weight_of_count_[count]
                                           : std::log(static_cast<double>(count)) + 1.0;
}

template <typename See>
void NgramBlock::split(const std::vector<CodePoint>& text, const See& see) const {
    switch (kind_.splitting) {
        case Splitting::kWords:
        case Splitting::kTokens:
            return split_words(text, see);
        case Splitting::kCharacters:
            return split_characters(Spelling(collapsed(text)), see);
        case Splitting::kCharactersInWords:
            return split_characters_in_words(text, see);
    }
}

// Where the word ends that starts here, or `at` if none does. A word is a run of letters, digits
// and underscores, two at least; among tokens one is enough, and every mark is a token of its own.
size_t NgramBlock::end_of_word(const std::vector<CodePoint>& text, size_t at) const {
    size_t end = at;
    while (end < text.size() && kinds_.is(kWord, text[end])) ++end;
    if (kind_.splitting == Splitting::kWords) return end - at >= 2 ? end : at;
    return end == at && !kinds_.is(kSpace, text[at]) ? at + 1 : end;
}

// Words join with one blank.
template <typename See>
void NgramBlock::split_words(const std::vector<CodePoint>& text, const See& see) const {
    std::vector<CodePoint> joined;
    joined.reserve(2 * text.size());
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
    const Spelling spelling(std::move(joined));
    for (size_t first = 0; first < words.size(); ++first) {
        const size_t start = words[first].first;
        for (size_t n = kind_.shortest; n <= kind_.longest && first + n <= words.size(); ++n)
            see(spelling, start, words[first + n - 1].second - start);
    }
}

// Without runs of white space: each becomes one blank.
std::vector<CodePoint> NgramBlock::collapsed(const std::vector<CodePoint>& text) const {
    std::vector<CodePoint> kept;
    kept.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
        size_t end = at;
        while (end < text.size() && kinds_.is(kSpace, text[end])) ++end;
        kept.push_back(end - at >= 2 ? kBlank : text[at]);
        at = end > at ? end : at + 1;
    }
    return kept;
}

template <typename See>
void NgramBlock::split_characters(const Spelling& text, const See& see) const {
    for (size_t n = kind_.shortest; n <= kind_.longest; ++n)
        for (size_t start = 0; start + n <= text.size(); ++start) see(text, start, n);
}

// Each word with a blank on both sides; one shorter than a length counts once, whole.
template <typename See>
void NgramBlock::split_characters_in_words(const std::vector<CodePoint>& text,
                                           const See& see) const {
    for (size_t at = 0; at < text.size();) {
        size_t end = at;
        while (end < text.size() && !kinds_.is(kSpace, text[end])) ++end;
        if (end > at) {
            std::vector<CodePoint> padded{kBlank};
            padded.insert(padded.end(), text.begin() + at, text.begin() + end);
            padded.push_back(kBlank);
            const Spelling spelling(std::move(padded));
            split_characters(spelling, see);
            if (spelling.size() < kind_.shortest) see(spelling, 0, spelling.size());
        }
        at = end > at ? end : at + 1;
    }
}

std::vector<CodePoint> with_single_blanks(const std::vector<CodePoint>& text,
                                          const CharacterKinds& kinds) {
    std::vector<CodePoint> kept;
    kept.reserve(text.size());
    for (const CodePoint point : text) {
        if (!kinds.is(kSpace, point))
            kept.push_back(point);
        else if (!kept.empty() && kept.back() != kBlank)
            kept.push_back(kBlank);
    }
    if (!kept.empty() && kept.back() == kBlank) kept.pop_back();
    return kept;
}

}  // namespace ivme
