// Parts of rows of a sequence: whole vectors, or what is left at a row's end.
#pragma once

#include "kernels.h"
#include "kernels/simd.h"

namespace mm_rec::MM_REC_ISA {

// Up to kLanes channels of a row: all of them, or those that are left at its end.
struct Span {
    int64_t channel;
    int64_t count;
};

// Zeros behind the span.
template <class T>
inline Float<kLanes> load_span(const T* row, const Span& span) {
    if (span.count >= kLanes) return load<kLanes>(row + span.channel);
    T part[kLanes] = {};
    for (int64_t lane = 0; lane < span.count; ++lane) part[lane] = row[span.channel + lane];
    return load<kLanes>(part);
}

template <class T>
inline void store_span(T* row, const Span& span, Float<kLanes> value) {
    if (span.count >= kLanes) return store<kLanes>(row + span.channel, value);
    T part[kLanes];
    store<kLanes>(part, value);
    for (int64_t lane = 0; lane < span.count; ++lane) row[span.channel + lane] = part[lane];
}

template <class T>
inline T* row_at(const Sequence& sequence, int64_t row, int64_t t) {
    return static_cast<T*>(sequence.data) + row * sequence.batch_stride + t * sequence.time_stride;
}

}  // namespace mm_rec::MM_REC_ISA
