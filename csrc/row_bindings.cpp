// Checks the arrays of the kernels that treat each row alone, releases the GIL, calls.
#include "row_bindings.h"

#include "arrays.h"
#include "instruction_set.h"
#include "row_kernels.h"

namespace mm_rec {
namespace {

using MatrixIn = nb::ndarray<nb::ro, nb::ndim<2>, nb::device::cpu>;
using MatrixOut = nb::ndarray<nb::ndim<2>, nb::device::cpu>;
using VectorIn = nb::ndarray<nb::ro, float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using VectorOut = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using LabelsIn = nb::ndarray<nb::ro, int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// Takes rows and channels from the first matrix, and holds all other arrays to them.
class RowChecker {
public:
    template <class Array>
    RowChecker(const Array& first, const char* name, int threads)
        : call_{static_cast<int64_t>(first.shape(0)), static_cast<int64_t>(first.shape(1)),
                threads < 1 ? 1 : threads},
          storage_(storage_of(first, name)) {
        if (call_.rows < 1 || call_.channels < 1)
            refuse(name, "must have at least 1 in every dimension.");
    }

    const RowCall& call() const { return call_; }

    // A matrix that may be stored otherwise than the first.
    template <class Array>
    Matrix any_matrix(const Array& array, const char* name) const {
        if (static_cast<int64_t>(array.shape(0)) != call_.rows ||
            static_cast<int64_t>(array.shape(1)) != call_.channels)
            refuse(name, "differs in shape from the other matrices.");
        if (call_.channels > 1 && array.stride(1) != 1)
            refuse(name, "must be contiguous in its last dimension.");
        return {const_cast<void*>(static_cast<const void*>(array.data())), array.stride(0),
                storage_of(array, name)};
    }

    template <class Array>
    Matrix matrix(const Array& array, const char* name) const {
        const Matrix result = any_matrix(array, name);
        if (result.storage != storage_) refuse(name, "differs in dtype from the other matrices.");
        return result;
    }

    template <class Array>
    Matrix optional_matrix(const std::optional<Array>& array, const char* name) const {
        return array ? matrix(*array, name) : Matrix{};
    }

    template <class Array>
    auto per_channel(const Array& array, const char* name) const {
        if (static_cast<int64_t>(array.shape(0)) != call_.channels)
            refuse(name, "must have one value for each channel.");
        return array.data();
    }

    template <class Array>
    auto per_row(const Array& array, const char* name) const {
        if (static_cast<int64_t>(array.shape(0)) != call_.rows)
            refuse(name, "must have one value for each row.");
        return array.data();
    }

private:
    RowCall call_;
    Storage storage_;
};

void rms_norm(const MatrixIn& x, const VectorIn& weight, float eps, const MatrixOut& y,
              const VectorOut& rstd, int threads) {
    const RowChecker check(x, "x", threads);
    const RmsNorm call{check.call(),
                       check.matrix(x, "x"),
                       check.per_channel(weight, "weight"),
                       eps,
                       check.any_matrix(y, "y"),
                       check.per_row(rstd, "rstd")};
    const nb::gil_scoped_release released;
    kernels().rms_norm(call);
}

void rms_norm_backward(const MatrixIn& y_gradient, const MatrixIn& x, const VectorIn& weight,
                       const VectorIn& rstd, const MatrixOut& x_gradient,
                       const VectorOut& weight_gradient, int threads) {
    const RowChecker check(x, "x", threads);
    const RmsNormBackward call{check.call(),
                               check.any_matrix(y_gradient, "y_gradient"),
                               check.matrix(x, "x"),
                               check.per_channel(weight, "weight"),
                               check.per_row(rstd, "rstd"),
                               check.matrix(x_gradient, "x_gradient"),
                               check.per_channel(weight_gradient, "weight_gradient")};
    const nb::gil_scoped_release released;
    kernels().rms_norm_backward(call);
}

void gated_norm(const MatrixIn& h, const std::optional<MatrixIn>& context, const MatrixIn& e,
                float eps, const MatrixOut& out, const VectorOut& rstd, int threads) {
    const RowChecker check(h, "h", threads);
    const GatedNorm call{check.call(),
                         check.matrix(h, "h"),
                         check.optional_matrix(context, "context"),
                         check.matrix(e, "e"),
                         eps,
                         check.matrix(out, "out"),
                         check.per_row(rstd, "rstd")};
    const nb::gil_scoped_release released;
    kernels().gated_norm(call);
}

void gated_norm_backward(const MatrixIn& out_gradient, const MatrixIn& h,
                         const std::optional<MatrixIn>& context, const MatrixIn& e,
                         const VectorIn& rstd, const MatrixOut& h_gradient,
                         const MatrixOut& e_gradient, int threads) {
    const RowChecker check(h, "h", threads);
    const GatedNormBackward call{check.call(),
                                 check.matrix(out_gradient, "out_gradient"),
                                 check.matrix(h, "h"),
                                 check.optional_matrix(context, "context"),
                                 check.matrix(e, "e"),
                                 check.per_row(rstd, "rstd"),
                                 check.matrix(h_gradient, "h_gradient"),
                                 check.matrix(e_gradient, "e_gradient")};
    const nb::gil_scoped_release released;
    kernels().gated_norm_backward(call);
}

void bias_gelu(const MatrixIn& x, const VectorIn& bias, const MatrixOut& y, int threads) {
    const RowChecker check(x, "x", threads);
    const BiasGelu call{check.call(), check.matrix(x, "x"), check.per_channel(bias, "bias"),
                        check.matrix(y, "y")};
    const nb::gil_scoped_release released;
    kernels().bias_gelu(call);
}

void bias_gelu_backward(const MatrixIn& y_gradient, const MatrixIn& x, const VectorIn& bias,
                        const MatrixOut& x_gradient, const VectorOut& bias_gradient, int threads) {
    const RowChecker check(x, "x", threads);
    const BiasGeluBackward call{check.call(),
                                check.matrix(y_gradient, "y_gradient"),
                                check.matrix(x, "x"),
                                check.per_channel(bias, "bias"),
                                check.matrix(x_gradient, "x_gradient"),
                                check.per_channel(bias_gradient, "bias_gradient")};
    const nb::gil_scoped_release released;
    kernels().bias_gelu_backward(call);
}

void column_sum(const MatrixIn& x, const VectorOut& sum, int threads) {
    const RowChecker check(x, "x", threads);
    const ColumnSum call{check.call(), check.matrix(x, "x"), check.per_channel(sum, "sum")};
    const nb::gil_scoped_release released;
    kernels().column_sum(call);
}

void cross_entropy(const MatrixOut& logits, const LabelsIn& labels, const VectorOut& loss,
                   bool needs_slope, int threads) {
    const RowChecker check(logits, "logits", threads);
    const CrossEntropy call{check.call(), check.matrix(logits, "logits"),
                            check.per_row(labels, "labels"), check.per_row(loss, "loss"),
                            needs_slope};
    for (int64_t row = 0; row < call.rows; ++row)
        if (call.labels[row] >= call.channels) refuse("labels", "must be below the channels.");
    const nb::gil_scoped_release released;
    kernels().cross_entropy(call);
}

}  // namespace

void define_row_kernels(nb::module_& module) {
    module.def("rms_norm", &rms_norm, fixed("x"), fixed("weight"), nb::arg("eps"), fixed("y"),
               fixed("rstd"), nb::arg("threads"), "Fill y and rstd.");
    module.def("rms_norm_backward", &rms_norm_backward, fixed("y_gradient"), fixed("x"),
               fixed("weight"), fixed("rstd"), fixed("x_gradient"), fixed("weight_gradient"),
               nb::arg("threads"), "Fill the gradients of x and weight.");
    module.def("gated_norm", &gated_norm, fixed("h"), fixed("context").none(), fixed("e"),
               nb::arg("eps"), fixed("out"), fixed("rstd"), nb::arg("threads"),
               "Fill out and rstd.");
    module.def("gated_norm_backward", &gated_norm_backward, fixed("out_gradient"), fixed("h"),
               fixed("context").none(), fixed("e"), fixed("rstd"), fixed("h_gradient"),
               fixed("e_gradient"), nb::arg("threads"), "Fill the gradients of h and e.");
    module.def("bias_gelu", &bias_gelu, fixed("x"), fixed("bias"), fixed("y"), nb::arg("threads"),
               "Fill y.");
    module.def("bias_gelu_backward", &bias_gelu_backward, fixed("y_gradient"), fixed("x"),
               fixed("bias"), fixed("x_gradient"), fixed("bias_gradient"), nb::arg("threads"),
               "Fill the gradients of x and bias.");
    module.def("column_sum", &column_sum, fixed("x"), fixed("sum"), nb::arg("threads"),
               "Fill sum.");
    module.def("cross_entropy", &cross_entropy, fixed("logits"), fixed("labels"), fixed("loss"),
               nb::arg("needs_slope"), nb::arg("threads"),
               "Fill loss; replace the logits by the slope if needed.");
}

}  // namespace mm_rec
