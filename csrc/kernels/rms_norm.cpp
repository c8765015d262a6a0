// RMS norm with a weight. x (the residual stream) and y (what a product reads) may differ in storage.
#include "kernels/entry_points.h"
#include "kernels/rows.h"

namespace mm_rec::MM_REC_ISA {
namespace {

template <class In, class Out>
void forward(const RmsNorm& call) {
    for_rows(call, [&](int64_t row) {
        const In* x = row_of<const In>(call.x, row);
        Out* y = row_of<Out>(call.y, row);
        const float squares = sum_over_channels(call.channels, [&](auto lanes, int64_t c) {
            const auto value = load<decltype(lanes)::value>(x + c);
            return value * value;
        });
        const float rstd = 1.0f / __builtin_sqrtf(squares / call.channels + call.eps);
        call.rstd[row] = rstd;
        for_vectors(0, call.channels, [&](auto lanes, int64_t c) {
            constexpr int W = decltype(lanes)::value;
            store<W>(y + c, load<W>(x + c) * rstd * load<W>(call.weight + c));
        });
    });
}

// dx = rstd * (w dy - x rstd^2 mean(w dy x)); dw = sum of dy x rstd.
template <class In, class Out>
void backward(const RmsNormBackward& call) {
    sum_over_rows(call, call.weight_gradient, [&](int64_t row, float* weight_gradient) {
        const Out* dy = row_of<const Out>(call.y_gradient, row);
        const In* x = row_of<const In>(call.x, row);
        In* dx = row_of<In>(call.x_gradient, row);
        const float rstd = call.rstd[row];
        const float dot = sum_over_channels(call.channels, [&](auto lanes, int64_t c) {
            constexpr int W = decltype(lanes)::value;
            const Float<W> product = load<W>(dy + c) * load<W>(x + c);
            store<W>(weight_gradient + c, load<W>(weight_gradient + c) + product * rstd);
            return product * load<W>(call.weight + c);
        });
        const float share = dot * rstd * rstd * rstd / call.channels;
        for_vectors(0, call.channels, [&](auto lanes, int64_t c) {
            constexpr int W = decltype(lanes)::value;
            const Float<W> direct = load<W>(dy + c) * load<W>(call.weight + c) * rstd;
            store<W>(dx + c, direct - load<W>(x + c) * share);
        });
    });
}

}  // namespace

void rms_norm(const RmsNorm& call) {
    with_storage(call.x.storage, [&](auto in) {
        with_storage(call.y.storage,
                     [&](auto out) { forward<decltype(in), decltype(out)>(call); });
    });
}

void rms_norm_backward(const RmsNormBackward& call) {
    with_storage(call.x.storage, [&](auto in) {
        with_storage(call.y_gradient.storage,
                     [&](auto out) { backward<decltype(in), decltype(out)>(call); });
    });
}

}  // namespace mm_rec::MM_REC_ISA
