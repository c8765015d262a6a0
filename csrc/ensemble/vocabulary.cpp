#include "vocabulary.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace ivme {
namespace {

constexpr size_t kToABucket = 4;  // n-grams, on average
constexpr double kRoom = 1.25;    // slots for each n-gram
constexpr uint32_t kMostDisplacements = 1u << 20;
constexpr CodePoint kLargestByte = 254;

std::vector<CodePoint> joined(const std::vector<std::vector<CodePoint>>& ngrams) {
    std::vector<CodePoint> points;
    for (const auto& ngram : ngrams) points.insert(points.end(), ngram.begin(), ngram.end());
    return points;
}

}  // namespace

Spelling::Spelling(std::vector<CodePoint> points)
    : points_(std::move(points)), bytes_(points_.size() + sizeof(uint64_t)) {
    for (size_t at = 0; at < points_.size(); ++at)
        bytes_[at] = points_[at] <= kLargestByte ? static_cast<uint8_t>(points_[at] + 1) : 0;
}

uint64_t Spelling::hash(size_t start, size_t length) const {
    uint64_t hash = kEmptyHash;
    for (size_t done = 0; done < length; done += sizeof(uint64_t)) {
        const size_t count = std::min(length - done, sizeof(uint64_t));
        const uint64_t bytes = bytes_at(start + done, count);
        hash = extend_hash(hash, bytes);
        if (all_fit(bytes, count)) continue;
        for (size_t at = 0; at < count; ++at) hash = extend_hash(hash, points_[start + done + at]);
    }
    return hash;
}

Vocabulary::Vocabulary(const std::vector<std::vector<CodePoint>>& ngrams)
    : spelled_(joined(ngrams)), starts_{0} {
    for (const auto& ngram : ngrams)
        starts_.push_back(starts_.back() + static_cast<uint32_t>(ngram.size()));
    const size_t slots = static_cast<size_t>(kRoom * static_cast<double>(size())) + 1;
    slots_.assign(slots, {0, static_cast<uint32_t>(size())});
    displacements_.assign(size() / kToABucket + 1, 0);
    for (const auto& bucket : full_buckets()) place(bucket);
}

// The n-grams of each bucket, the largest first: while there is room they are placed with ease.
std::vector<std::vector<uint32_t>> Vocabulary::full_buckets() const {
    std::vector<std::vector<uint32_t>> buckets(displacements_.size());
    for (uint32_t number = 0; number < size(); ++number) {
        const uint64_t key = spelled_.key(starts_[number], starts_[number + 1] - starts_[number]);
        buckets[bucket_of(key)].push_back(number);
    }
    std::stable_sort(buckets.begin(), buckets.end(),
                     [](const auto& a, const auto& b) { return a.size() > b.size(); });
    return buckets;
}

void Vocabulary::place(const std::vector<uint32_t>& bucket) {
    std::vector<uint64_t> keys;
    for (const uint32_t number : bucket)
        keys.push_back(spelled_.key(starts_[number], starts_[number + 1] - starts_[number]));
    std::vector<uint64_t> taken;
    for (uint32_t displacement = 0; displacement < kMostDisplacements; ++displacement) {
        taken.clear();
        for (const uint64_t key : keys) {
            const uint64_t slot = slot_of(key, displacement);
            const bool is_free = slots_[slot].number == size() &&
                                 std::find(taken.begin(), taken.end(), slot) == taken.end();
            if (!is_free) break;
            taken.push_back(slot);
        }
        if (taken.size() < keys.size()) continue;
        for (size_t at = 0; at < keys.size(); ++at) slots_[taken[at]] = {keys[at], bucket[at]};
        if (!keys.empty()) displacements_[bucket_of(keys[0])] = displacement;
        return;
    }
    throw std::invalid_argument("ngrams: expected each of them once");
}

bool Vocabulary::is_same(uint32_t number, const Spelling& text, size_t start, size_t length) const {
    if (number == size() || starts_[number + 1] - starts_[number] != length) return false;
    return std::memcmp(spelled_.points() + starts_[number], text.points() + start,
                       length * sizeof(CodePoint)) == 0;
}

}  // namespace ivme
