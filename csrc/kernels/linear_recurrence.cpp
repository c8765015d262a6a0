// h[t] = a[t] * h[t-1] + b[t]. The state stays fp32 over all of time, whatever the storage.
#include "kernels/entry_points.h"
#include "kernels/recurrence_backward.h"

namespace mm_rec::MM_REC_ISA {
namespace {

template <class Format>
struct LinearStep {
    static constexpr bool kReverse = false;
    InputRow<Format> a;
    InputRow<Format> b;
    OutputRow<Format> h;
    State h0;
    State h_last;

    float initial(int64_t channel) const { return h0 ? h0[channel] : 0; }

    template <int W>
    Float<W> advance(Float<W> state, int64_t t, int64_t channel) const {
        const Affine<W> step = map<W>(t, channel);
        state = step.scale * state + step.shift;
        h.template put<W>(t, channel, state);
        return state;
    }

    template <int W>
    Affine<W> map(int64_t t, int64_t channel) const {
        return {a.template get<W>(t, channel), b.template get<W>(t, channel)};
    }

    void finish(int64_t channel, float state) const { h_last[channel] = state; }
};

template <class Format>
void forward(const LinearRecurrence& call) {
    walk(call, [&](int64_t batch) {
        return LinearStep<Format>{{call.a, batch},
                                  {call.b, batch},
                                  {call.h, batch},
                                  state_row(call.h0, call.extents, batch),
                                  state_row(call.h_last, call.extents, batch)};
    });
}

template <class Format>
void backward(const LinearRecurrenceBackward& call) {
    walk(call, [&](int64_t batch) {
        return RecurrenceBackwardStep<Format, true>{
            {call.h_gradient, batch},
            {call.a, batch},
            {call.h, batch},
            {call.a_gradient, batch},
            {call.b_gradient, batch},
            state_row(call.h0, call.extents, batch),
            0.0f,
            state_row(call.h_last_gradient, call.extents, batch),
            state_row(call.h0_gradient, call.extents, batch)};
    });
}

}  // namespace

void linear_recurrence(const LinearRecurrence& call) {
    const bool streams = worth_streaming(call, 3, call.h);
    with_format(call, streams, [&](auto format) { forward<decltype(format)>(call); });
}

void linear_recurrence_backward(const LinearRecurrenceBackward& call) {
    const bool streams = worth_streaming(call, 5, call.a_gradient, call.b_gradient);
    with_format(call, streams, [&](auto format) { backward<decltype(format)>(call); });
}

}  // namespace mm_rec::MM_REC_ISA
