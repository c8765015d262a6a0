// Cross-entropy of rows of logits and its derivative, while a row is in the first-level cache.
#include "kernels/entry_points.h"
#include "kernels/rows.h"

namespace mm_rec::MM_REC_ISA {
namespace {

template <class T>
inline float largest_of(const T* row, int64_t channels) {
    float largest = -__builtin_inff();
    Float<kLanes> vector = fill<kLanes>(largest);
    for_vectors(0, channels, [&](auto lanes, int64_t c) {
        constexpr int W = decltype(lanes)::value;
        const Float<W> values = load<W>(row + c);
        if constexpr (W == kLanes)
            vector = larger<W>(vector, values);
        else
            for (int lane = 0; lane < W; ++lane)
                if (values[lane] > largest) largest = values[lane];
    });
    for (int lane = 0; lane < kLanes; ++lane)
        if (vector[lane] > largest) largest = vector[lane];
    return largest;
}

// e^(value - most), of which the smallest are as good as nothing.
template <int W>
inline Float<W> exponential_below(Float<W> value, float most) {
    return negative_exponential<W>(smaller<W>(fill<W>(87.0f), most - value));
}

template <class T>
float row_loss(const CrossEntropy& call, int64_t row) {
    T* logits = row_of<T>(call.logits, row);
    const int64_t label = call.labels[row];
    const int64_t channels = call.channels;
    if (label < 0) {
        if (call.needs_slope) __builtin_memset(logits, 0, channels * sizeof(T));
        return 0.0f;
    }
    const float most = largest_of(logits, channels);
    const float total = sum_over_channels(channels, [&](auto lanes, int64_t c) {
        constexpr int W = decltype(lanes)::value;
        return exponential_below<W>(load<W>(logits + c), most);
    });
    const Float<1> labeled = load<1>(logits + label);
    const float loss = __builtin_logf(total) + (most - labeled[0]);
    if (!call.needs_slope) return loss;
    const float share = 1.0f / total;
    for_vectors(0, channels, [&](auto lanes, int64_t c) {
        constexpr int W = decltype(lanes)::value;
        store<W>(logits + c, exponential_below<W>(load<W>(logits + c), most) * share);
    });
    store<1>(logits + label, exponential_below<1>(labeled, most) * share - 1.0f);
    return loss;
}

}  // namespace

void cross_entropy(const CrossEntropy& call) {
    with_storage(call.logits.storage, [&](auto value) {
        for_rows(call, [&](int64_t row) { call.loss[row] = row_loss<decltype(value)>(call, row); });
    });
}

}  // namespace mm_rec::MM_REC_ISA
