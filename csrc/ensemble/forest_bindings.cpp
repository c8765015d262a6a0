// Checks the arrays of a forest and of the rows, releases the GIL, calls.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "bindings.h"
#include "tree_ensemble.h"

namespace nb = nanobind;

namespace ivme {
namespace {

template <typename T>
using Vector = nb::ndarray<nb::ro, T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Matrix = nb::ndarray<nb::ro, T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using MatrixOut = nb::ndarray<double, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

[[noreturn]] void refuse(const std::string& reason) { throw std::invalid_argument(reason); }

// A compiled forest; its nodes were checked once, so that no walk can leave the arrays or run for
// ever.
class CheckedForest {
public:
    CheckedForest(Matrix<uint8_t> nodes, Vector<int32_t> roots, Vector<int32_t> outputs,
                  Matrix<double> leaf_values, int64_t features, bool has_float_inputs)
        : nodes_(nodes),
          roots_(roots),
          outputs_(outputs),
          leaf_values_(leaf_values),
          features_(features) {
        if (nodes.shape(1) != sizeof(TreeNode)) refuse("nodes: expected 24 bytes each");
        if (reinterpret_cast<uintptr_t>(nodes.data()) % alignof(TreeNode) != 0)
            refuse("nodes: expected memory aligned to 8 bytes");
        if (roots.shape(0) != outputs.shape(0)) refuse("outputs: expected one for each root");
        if (features < 1) refuse("features: expected at least one");
        forest_ = {reinterpret_cast<const TreeNode*>(nodes.data()),
                   roots.data(),
                   outputs.data(),
                   leaf_values.data(),
                   static_cast<int64_t>(roots.shape(0)),
                   static_cast<int64_t>(leaf_values.shape(1)),
                   nullptr,
                   0,
                   has_float_inputs};
        check_nodes();
        check_trees();
        number_slots();
    }

    CheckedForest(const CheckedForest&) = delete;  // forest_ points into it

    void add_scores(const Vector<int64_t>& starts, const Vector<int32_t>& indices,
                    const Vector<double>& values, const MatrixOut& scores) const {
        const int64_t rows = static_cast<int64_t>(scores.shape(0));
        const int64_t width = static_cast<int64_t>(scores.shape(1));
        if (static_cast<int64_t>(starts.shape(0)) != rows + 1)
            refuse("starts: expected one more than rows of scores");
        if (indices.shape(0) != values.shape(0)) refuse("values: expected one for each index");
        if (width < score_width_) refuse("scores: fewer columns than the trees add to");
        check_rows(starts, indices, rows);
        const nb::gil_scoped_release released;
        add_forest_scores(forest_, {starts.data(), indices.data(), values.data(), rows},
                          scores.data(), width);
    }

private:
    void check_nodes() const {
        const int64_t count = static_cast<int64_t>(nodes_.shape(0));
        const int64_t leaves = static_cast<int64_t>(leaf_values_.shape(0));
        for (int64_t i = 0; i < count; ++i) {
            const TreeNode& node = forest_.nodes[i];
            const bool is_sound = node.feature < 0 ? node.left >= 0 && node.left < leaves
                                                   : node.feature < features_ && node.left > i &&
                                                         node.left < count && node.right > i &&
                                                         node.right < count;
            if (!is_sound) refuse("node " + std::to_string(i) + " points outside of the forest");
        }
    }

    void check_trees() {
        const int64_t count = static_cast<int64_t>(nodes_.shape(0));
        for (int64_t t = 0; t < forest_.trees; ++t) {
            if (forest_.roots[t] < 0 || forest_.roots[t] >= count || forest_.outputs[t] < 0)
                refuse("tree " + std::to_string(t) + " points outside of the forest");
            const int64_t width = forest_.outputs[t] + forest_.leaf_width;
            if (width > score_width_) score_width_ = width;
        }
    }

    void check_rows(const Vector<int64_t>& starts, const Vector<int32_t>& indices,
                    int64_t rows) const {
        const int64_t* start = starts.data();
        if (start[0] < 0 || start[rows] > static_cast<int64_t>(indices.shape(0)))
            refuse("starts: points outside of indices");
        for (int64_t r = 0; r < rows; ++r)
            if (start[r] > start[r + 1]) refuse("starts: must not decrease");
        const int32_t* index = indices.data();
        for (int64_t j = start[0]; j < start[rows]; ++j)
            if (index[j] < 0 || index[j] >= features_)
                refuse("indices: " + std::to_string(index[j]) + " is none of the " +
                       std::to_string(features_) + " features");
    }

    // Trees read few of the features, often: these get a short row of their own to be looked up in.
    void number_slots() {
        const size_t count = nodes_.shape(0);
        slotted_.assign(forest_.nodes, forest_.nodes + count);
        slots_.assign(static_cast<size_t>(features_), -1);
        for (TreeNode& node : slotted_) {
            if (node.feature < 0) continue;
            int32_t& slot = slots_[static_cast<size_t>(node.feature)];
            if (slot < 0) slot = static_cast<int32_t>(forest_.read_features++);
            node.feature = slot;
        }
        forest_.nodes = slotted_.data();
        forest_.slots = slots_.data();
    }

    Matrix<uint8_t> nodes_;
    Vector<int32_t> roots_;
    Vector<int32_t> outputs_;
    Matrix<double> leaf_values_;
    int64_t features_;
    std::vector<TreeNode> slotted_;  // the nodes, by slots in the place of features
    std::vector<int32_t> slots_;     // [features]
    Forest forest_{};
    int64_t score_width_ = 0;
};

}  // namespace

void bind_forest(nb::module_& module) {
    nb::class_<CheckedForest>(module, "Forest")
        .def(nb::init<Matrix<uint8_t>, Vector<int32_t>, Vector<int32_t>, Matrix<double>, int64_t,
                      bool>(),
             nb::arg("nodes"), nb::arg("roots"), nb::arg("outputs"), nb::arg("leaf_values"),
             nb::arg("features"), nb::arg("has_float_inputs"))
        .def("add_scores", &CheckedForest::add_scores, nb::arg("starts"), nb::arg("indices"),
             nb::arg("values"), nb::arg("scores"),
             "Add the leaves that each sparse row reaches to scores [rows, columns].");
}

}  // namespace ivme
