// Backward step of h[t] = a[t] * h[t-1] + b[t]:
//   g[t] = dh[t] + a[t+1] * g[t+1];  db = g;  da = g * h[t-1];  dh0 = a[0] * g[0].
// The state that it carries is a[t+1] * g[t+1]. The cumulative product is the case b = 0, h0 = 1.
#pragma once

#include "kernels/sequence.h"
#include "kernels/walk.h"

namespace mm_rec::MM_REC_ISA {

template <class Format, bool kInputGradient>
struct RecurrenceBackwardStep {
    static constexpr bool kReverse = true;
    InputRow<Format> h_gradient;
    InputRow<Format> a;
    InputRow<Format> h;
    OutputRow<Format> a_gradient;
    OutputRow<Format> b_gradient;
    State h0;
    float h0_constant;  // where h0 is null
    State h_last_gradient;
    State h0_gradient;

    float initial(int64_t channel) const { return h_last_gradient ? h_last_gradient[channel] : 0; }

    template <int W>
    Float<W> before(int64_t t, int64_t channel) const {
        if (t > 0) return h.template get<W>(t - 1, channel);
        return h0 ? load<W>(h0 + channel) : fill<W>(h0_constant);
    }

    template <int W>
    Float<W> advance(Float<W> carried, int64_t t, int64_t channel) const {
        const Float<W> gradient = h_gradient.template get<W>(t, channel) + carried;
        if (kInputGradient) b_gradient.template put<W>(t, channel, gradient);
        a_gradient.template put<W>(t, channel, gradient * before<W>(t, channel));
        return gradient * a.template get<W>(t, channel);
    }

    template <int W>
    Affine<W> map(int64_t t, int64_t channel) const {
        const Float<W> scale = a.template get<W>(t, channel);
        return {scale, scale * h_gradient.template get<W>(t, channel)};
    }

    void finish(int64_t channel, float carried) const {
        if (h0_gradient) h0_gradient[channel] = carried;
    }
};

}  // namespace mm_rec::MM_REC_ISA
