// gelu(x + bias), and the gradients of x and bias in one pass; sums of columns.
#include "kernels/entry_points.h"
#include "kernels/rows.h"

namespace mm_rec::MM_REC_ISA {
namespace {

template <int W>
inline void add(float* sums, Float<W> value) {
    store<W>(sums, load<W>(sums) + value);
}

template <class T>
void forward(const BiasGelu& call) {
    for_rows(call, [&](int64_t row) {
        const T* x = row_of<const T>(call.x, row);
        T* y = row_of<T>(call.y, row);
        for_vectors(0, call.channels, [&](auto lanes, int64_t c) {
            constexpr int W = decltype(lanes)::value;
            store<W>(y + c, gelu<W>(load<W>(x + c) + load<W>(call.bias + c)));
        });
    });
}

template <class T>
void backward(const BiasGeluBackward& call) {
    sum_over_rows(call, call.bias_gradient, [&](int64_t row, float* bias_gradient) {
        const T* dy = row_of<const T>(call.y_gradient, row);
        const T* x = row_of<const T>(call.x, row);
        T* dx = row_of<T>(call.x_gradient, row);
        for_vectors(0, call.channels, [&](auto lanes, int64_t c) {
            constexpr int W = decltype(lanes)::value;
            const Float<W> slope = gelu_slope<W>(load<W>(x + c) + load<W>(call.bias + c));
            const Float<W> gradient = load<W>(dy + c) * slope;
            store<W>(dx + c, gradient);
            add<W>(bias_gradient + c, gradient);
        });
    });
}

}  // namespace

void bias_gelu(const BiasGelu& call) {
    with_storage(call.x.storage, [&](auto value) { forward<decltype(value)>(call); });
}

void bias_gelu_backward(const BiasGeluBackward& call) {
    with_storage(call.x.storage, [&](auto value) { backward<decltype(value)>(call); });
}

void column_sum(const ColumnSum& call) {
    with_storage(call.x.storage, [&](auto value) {
        sum_over_rows(call, call.sum, [&](int64_t row, float* sums) {
            const auto* x = row_of<const decltype(value)>(call.x, row);
            for_vectors(0, call.channels, [&](auto lanes, int64_t c) {
                constexpr int W = decltype(lanes)::value;
                add<W>(sums + c, load<W>(x + c));
            });
        });
    });
}

}  // namespace mm_rec::MM_REC_ISA
