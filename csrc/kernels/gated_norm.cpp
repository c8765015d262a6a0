// The output gate: rms_norm(h + context) * silu(e) in one pass each way.
#include "kernels/entry_points.h"
#include "kernels/rows.h"

namespace mm_rec::MM_REC_ISA {
namespace {

// h + context of one row, whether there is a context or not.
template <class T>
struct Mixed {
    const T* h;
    const T* context;

    Mixed(const Matrix& h, const Matrix& context, int64_t row)
        : h(row_of<const T>(h, row)),
          context(context.data ? row_of<const T>(context, row) : nullptr) {}

    template <int W>
    Float<W> get(int64_t c) const {
        const Float<W> own = load<W>(h + c);
        return context ? own + load<W>(context + c) : own;
    }
};

template <class T>
void forward(const GatedNorm& call) {
    for_rows(call, [&](int64_t row) {
        const Mixed<T> mixed(call.h, call.context, row);
        const T* e = row_of<const T>(call.e, row);
        T* out = row_of<T>(call.out, row);
        const float squares = sum_over_channels(call.channels, [&](auto lanes, int64_t c) {
            const auto value = mixed.template get<decltype(lanes)::value>(c);
            return value * value;
        });
        const float rstd = 1.0f / __builtin_sqrtf(squares / call.channels + call.eps);
        call.rstd[row] = rstd;
        for_vectors(0, call.channels, [&](auto lanes, int64_t c) {
            constexpr int W = decltype(lanes)::value;
            store<W>(out + c, mixed.template get<W>(c) * rstd * silu<W>(load<W>(e + c)));
        });
    });
}

template <class T>
void backward(const GatedNormBackward& call) {
    for_rows(call, [&](int64_t row) {
        const Mixed<T> mixed(call.h, call.context, row);
        const T* slope = row_of<const T>(call.out_gradient, row);
        const T* e = row_of<const T>(call.e, row);
        T* dh = row_of<T>(call.h_gradient, row);
        T* de = row_of<T>(call.e_gradient, row);
        const float rstd = call.rstd[row];
        const float dot = sum_over_channels(call.channels, [&](auto lanes, int64_t c) {
            constexpr int W = decltype(lanes)::value;
            const Float<W> gate = load<W>(e + c);
            const Float<W> open = sigmoid<W>(gate);
            const Float<W> normed_slope = load<W>(slope + c) * mixed.template get<W>(c);
            store<W>(de + c, normed_slope * rstd * open * (1.0f + gate * (1.0f - open)));
            return normed_slope * gate * open;
        });
        const float share = dot * rstd * rstd * rstd / call.channels;
        for_vectors(0, call.channels, [&](auto lanes, int64_t c) {
            constexpr int W = decltype(lanes)::value;
            const Float<W> direct = load<W>(slope + c) * silu<W>(load<W>(e + c)) * rstd;
            store<W>(dh + c, direct - mixed.template get<W>(c) * share);
        });
    });
}

}  // namespace

void gated_norm(const GatedNorm& call) {
    with_storage(call.h.storage, [&](auto value) { forward<decltype(value)>(call); });
}

void gated_norm_backward(const GatedNormBackward& call) {
    with_storage(call.h.storage, [&](auto value) { backward<decltype(value)>(call); });
}

}  // namespace mm_rec::MM_REC_ISA
