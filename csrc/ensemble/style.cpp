#include "style.h"

#include <algorithm>
#include <cmath>

namespace ivme {
namespace {

constexpr size_t kWindow = 50;  // words, for figures that would otherwise change with length

struct Word {
    uint64_t hash;  // of its lower-case letters, where they are ASCII
    size_t length;
    bool has_apostrophe;
    bool is_capitalized;  // its first letter is upper-case
    bool is_shouted;      // two letters or more, all upper-case
    bool is_small_i;      // the pronoun, written small
};

struct Sentence {
    size_t first_word;
    size_t words;
    size_t commas;
    bool starts_small;
};

// What one pass over the text counts.
struct Counts {
    std::vector<Word> words;
    std::vector<Sentence> sentences;
    double letters = 0, upper = 0, digits = 0, foreign = 0;
    double commas = 0, periods = 0, exclamations = 0, questions = 0, colons = 0, semicolons = 0;
    double quotes = 0, brackets = 0, dashes = 0, hyphens = 0, ellipses = 0, others = 0;
    double repeated_marks = 0, missing_blanks = 0, blanks_before_marks = 0;
};

constexpr CodePoint small(CodePoint point) {
    return point >= 'A' && point <= 'Z' ? point + ('a' - 'A') : point;
}

bool ends_sentence(CodePoint point) { return point == '.' || point == '!' || point == '?'; }
bool is_mark(CodePoint point) {
    return ends_sentence(point) || point == ',' || point == ';' || point == ':';
}

class Reader {
public:
    Reader(const std::vector<CodePoint>& text, const CharacterKinds& kinds)
        : text_(text), kinds_(kinds) {}

    Counts read() {
        start_sentence();
        while (at_ < text_.size()) {
            if (is_word(text_[at_]))
                read_word();
            else
                read_other();
        }
        end_sentence();
        return std::move(counts_);
    }

private:
    bool is_word(CodePoint point) const { return kinds_.is(kLetter | kDigit, point); }
    CodePoint point_at(size_t at) const { return at < text_.size() ? text_[at] : ' '; }

    void start_sentence() { sentence_ = {counts_.words.size(), 0, 0, false}; }

    void end_sentence() {
        sentence_.words = counts_.words.size() - sentence_.first_word;
        if (sentence_.words) counts_.sentences.push_back(sentence_);
        start_sentence();
    }

    void read_word() {
        const size_t start = at_;
        Word word{kEmptyHash, 0, false, false, false, false};
        size_t upper = 0, letters = 0;
        for (; at_ < text_.size(); ++at_) {
            const CodePoint point = text_[at_];
            if (point == '\'' && is_word(point_at(at_ + 1))) {
                word.has_apostrophe = true;
            } else if (!is_word(point)) {
                break;
            } else if (kinds_.is(kDigit, point)) {
                ++counts_.digits;
            } else {
                ++letters;
                upper += kinds_.is(kUpper, point);
                counts_.foreign += point > 127;
            }
            word.hash = extend_hash(word.hash, small(point));
        }
        word.length = at_ - start;
        word.is_capitalized = kinds_.is(kUpper, text_[start]);
        word.is_shouted = upper >= 2 && upper == letters;
        word.is_small_i = word.length == 1 && text_[start] == 'i';
        if (counts_.words.size() == sentence_.first_word)
            sentence_.starts_small = kinds_.is(kLower, text_[start]);
        counts_.letters += static_cast<double>(letters);
        counts_.upper += static_cast<double>(upper);
        counts_.words.push_back(word);
    }

    void read_other() {
        const CodePoint point = text_[at_];
        const CodePoint next = point_at(at_ + 1);
        const CodePoint before = at_ ? text_[at_ - 1] : ' ';
        if (is_mark(point)) {
            counts_.repeated_marks += is_mark(next) && !(point == '.' && next == '.');
            counts_.missing_blanks += kinds_.is(kLetter, next) && kinds_.is(kLetter, before);
            counts_.blanks_before_marks += kinds_.is(kSpace, before) && at_ > 0;
        }
        count_mark(point, before, next);
        ++at_;
        if (ends_sentence(point) && !is_word(next) && !ends_sentence(next)) end_sentence();
    }

    void count_mark(CodePoint point, CodePoint before, CodePoint next) {
        if (kinds_.is(kSpace, point)) return;
        switch (point) {
            case ',':
                ++counts_.commas;
                ++sentence_.commas;
                return;
            case '.':
                if (next == '.' && before != '.') ++counts_.ellipses;
                if (next != '.' && before != '.') ++counts_.periods;
                return;
            case '!':
                ++counts_.exclamations;
                return;
            case '?':
                ++counts_.questions;
                return;
            case ':':
                ++counts_.colons;
                return;
            case ';':
                ++counts_.semicolons;
                return;
            case '"':
                ++counts_.quotes;
                return;
            case '(':
            case '[':
                ++counts_.brackets;
                return;
            case ')':
            case ']':
            case '\'':
                return;
            case '-':
                ++(is_word(before) && is_word(next) ? counts_.hyphens : counts_.dashes);
                return;
            default:
                ++counts_.others;
        }
    }

    const std::vector<CodePoint>& text_;
    const CharacterKinds& kinds_;
    size_t at_ = 0;
    Counts counts_;
    Sentence sentence_{};
};

struct Spread {
    double mean = 0, deviation = 0;
};

template <typename Values, typename Read>
Spread spread_of(const Values& values, const Read& read) {
    if (values.empty()) return {};
    double sum = 0, squares = 0;
    for (const auto& value : values) {
        const double one = static_cast<double>(read(value));
        sum += one;
        squares += one * one;
    }
    const double count = static_cast<double>(values.size());
    const double mean = sum / count;
    return {mean, std::sqrt(std::max(0.0, squares / count - mean * mean))};
}

template <typename Is>
double share_of(const std::vector<Word>& words, const Is& is) {
    return static_cast<double>(std::count_if(words.begin(), words.end(), is)) /
           static_cast<double>(words.size());
}

// Where each value was seen last before, or kNowhere.
constexpr size_t kNowhere = static_cast<size_t>(-1);
std::vector<size_t> last_seen(const std::vector<uint64_t>& values) {
    size_t slots = 16;
    while (slots < 2 * values.size()) slots *= 2;
    std::vector<size_t> latest(slots, kNowhere);  // open addressing
    std::vector<size_t> before;
    before.reserve(values.size());
    for (size_t at = 0; at < values.size(); ++at) {
        size_t slot = values[at] & (slots - 1);
        while (latest[slot] != kNowhere && values[latest[slot]] != values[at])
            slot = (slot + 1) & (slots - 1);
        before.push_back(latest[slot]);
        latest[slot] = at;
    }
    return before;
}

// The mean share of different words in runs of kWindow words; a shorter text is one run.
double variety(const std::vector<Word>& words) {
    std::vector<uint64_t> hashes;
    for (const Word& word : words) hashes.push_back(word.hash);
    const std::vector<size_t> before = last_seen(hashes);
    double sum = 0, runs = 0;
    for (size_t first = 0; first < words.size(); first += kWindow) {
        const size_t end = std::min(first + kWindow, words.size());
        if (end - first < kWindow && first > 0) break;
        const auto is_new = [&](size_t place) { return place == kNowhere || place < first; };
        const auto different = std::count_if(before.begin() + first, before.begin() + end, is_new);
        sum += static_cast<double>(different) / static_cast<double>(end - first);
        ++runs;
    }
    return sum / runs;
}

// The share of word pairs that stood among the 2 * kWindow pairs before.
double repeated_pairs(const std::vector<Word>& words) {
    std::vector<uint64_t> pairs;
    for (size_t at = 0; at + 1 < words.size(); ++at)
        pairs.push_back(extend_hash(words[at].hash, static_cast<CodePoint>(words[at + 1].hash)));
    if (pairs.empty()) return 0;
    const std::vector<size_t> before = last_seen(pairs);
    double repeated = 0;
    for (size_t at = 0; at < pairs.size(); ++at)
        repeated += before[at] != kNowhere && at - before[at] <= 2 * kWindow;
    return repeated / static_cast<double>(pairs.size());
}

// How much the length changes from one sentence to the next, relative to the mean length.
double length_change(const std::vector<Sentence>& sentences, double mean) {
    if (sentences.size() < 2) return 0;
    double sum = 0;
    for (size_t at = 1; at < sentences.size(); ++at)
        sum += std::abs(static_cast<double>(sentences[at].words) -
                        static_cast<double>(sentences[at - 1].words));
    return sum / static_cast<double>(sentences.size() - 1) / mean;
}

double same_starts(const Counts& counts) {
    const auto& sentences = counts.sentences;
    if (sentences.size() < 2) return 0;
    double same = 0;
    for (size_t at = 1; at < sentences.size(); ++at)
        same += counts.words[sentences[at].first_word].hash ==
                counts.words[sentences[at - 1].first_word].hash;
    return same / static_cast<double>(sentences.size() - 1);
}

}  // namespace

const std::vector<const char*>& style_names() {
    static const std::vector<const char*> names{"word length",
                                                "word length deviation",
                                                "long words",
                                                "short words",
                                                "sentence length",
                                                "sentence length deviation",
                                                "burstiness",
                                                "sentence length change",
                                                "variety of words",
                                                "repeated pairs",
                                                "commas",
                                                "periods",
                                                "exclamations",
                                                "questions",
                                                "colons",
                                                "semicolons",
                                                "quotes",
                                                "brackets",
                                                "dashes",
                                                "hyphens",
                                                "ellipses",
                                                "other marks",
                                                "repeated marks",
                                                "missing blanks",
                                                "blanks before marks",
                                                "apostrophes",
                                                "capitalized words",
                                                "shouted words",
                                                "small i",
                                                "small sentence starts",
                                                "upper-case letters",
                                                "digits",
                                                "letters outside ASCII",
                                                "same sentence starts",
                                                "commas in a sentence deviation"};
    return names;
}

std::vector<double> measure_style(const std::vector<CodePoint>& text, const CharacterKinds& kinds) {
    const Counts counts = Reader(text, kinds).read();
    if (counts.words.empty()) return std::vector<double>(style_names().size(), 0.0);
    const auto& words = counts.words;
    const double total = static_cast<double>(words.size());
    const double letters = std::max(counts.letters, 1.0);
    const Spread word = spread_of(words, [](const Word& one) { return one.length; });
    const Spread sentence =
        spread_of(counts.sentences, [](const Sentence& one) { return one.words; });
    const Spread commas =
        spread_of(counts.sentences, [](const Sentence& one) { return one.commas; });
    double small_starts = 0;
    for (const Sentence& one : counts.sentences) small_starts += one.starts_small;
    return {word.mean,
            word.deviation,
            share_of(words, [](const Word& one) { return one.length >= 7; }),
            share_of(words, [](const Word& one) { return one.length <= 3; }),
            sentence.mean,
            sentence.deviation,
            sentence.deviation / sentence.mean,
            length_change(counts.sentences, sentence.mean),
            variety(words),
            repeated_pairs(words),
            counts.commas / total,
            counts.periods / total,
            counts.exclamations / total,
            counts.questions / total,
            counts.colons / total,
            counts.semicolons / total,
            counts.quotes / total,
            counts.brackets / total,
            counts.dashes / total,
            counts.hyphens / total,
            counts.ellipses / total,
            counts.others / total,
            counts.repeated_marks / total,
            counts.missing_blanks / total,
            counts.blanks_before_marks / total,
            share_of(words, [](const Word& one) { return one.has_apostrophe; }),
            share_of(words, [](const Word& one) { return one.is_capitalized; }),
            share_of(words, [](const Word& one) { return one.is_shouted; }),
            share_of(words, [](const Word& one) { return one.is_small_i; }),
            small_starts / static_cast<double>(counts.sentences.size()),
            counts.upper / letters,
            counts.digits / (counts.digits + letters),
            counts.foreign / letters,
            same_starts(counts),
            commas.deviation};
}

}  // namespace ivme
