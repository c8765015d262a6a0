// Cumulative product along time, checked on the way: the range costs no second pass over memory.
#include "kernels/entry_points.h"
#include "kernels/recurrence_backward.h"

namespace mm_rec::MM_REC_ISA {
namespace {

// The bits of a float in (0, 1], minus one, lie below this; those of any other do not.
constexpr uint32_t kOneBits = 0x3f800000u;

template <class Format>
struct ProductStep {
    static constexpr bool kReverse = false;
    InputRow<Format> gamma;
    OutputRow<Format> product;
    Bits<kLanes> worst = {};
    Bits<1> worst_single = {};

    float initial(int64_t) const { return 1.0f; }

    template <int W>
    Float<W> advance(Float<W> state, int64_t t, int64_t channel) {
        const Float<W> factor = gamma.template get<W>(t, channel);
        note((Bits<W>)factor - 1u);
        state *= factor;
        product.template put<W>(t, channel, state);
        return state;
    }

    template <int W>
    Affine<W> map(int64_t t, int64_t channel) const {
        return {gamma.template get<W>(t, channel), fill<W>(0.0f)};
    }

    void finish(int64_t, float) const {}

    void note(Bits<kLanes> seen) { worst = worst > seen ? worst : seen; }
    void note(Bits<1> seen) { worst_single = worst_single > seen ? worst_single : seen; }

    bool in_range() const {
        bool fine = worst_single[0] < kOneBits;
        for (int lane = 0; lane < kLanes; ++lane) fine = fine && worst[lane] < kOneBits;
        return fine;
    }
};

template <class Format>
bool forward(const CumulativeProduct& call) {
    bool in_range = true;
    walk(
        call,
        [&](int64_t batch) {
            return ProductStep<Format>{{call.gamma, batch}, {call.product, batch}};
        },
        [&](const ProductStep<Format>& step) {
            if (step.in_range()) return;
#pragma omp atomic write
            in_range = false;
        });
    return in_range;
}

template <class Format>
void backward(const CumulativeProductBackward& call) {
    walk(call, [&](int64_t batch) {
        return RecurrenceBackwardStep<Format, false>{{call.product_gradient, batch},
                                                     {call.gamma, batch},
                                                     {call.product, batch},
                                                     {call.gamma_gradient, batch},
                                                     {Sequence{}, batch},
                                                     nullptr,
                                                     1.0f,
                                                     nullptr,
                                                     nullptr};
    });
}

}  // namespace

bool cumulative_product(const CumulativeProduct& call) {
    const bool streams = worth_streaming(call, 2, call.product);
    return with_format(call, streams, [&](auto format) { return forward<decltype(format)>(call); });
}

void cumulative_product_backward(const CumulativeProductBackward& call) {
    const bool streams = worth_streaming(call, 4, call.gamma_gradient);
    with_format(call, streams, [&](auto format) { backward<decltype(format)>(call); });
}

}  // namespace mm_rec::MM_REC_ISA
