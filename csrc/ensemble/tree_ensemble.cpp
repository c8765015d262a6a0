#include "tree_ensemble.h"

#include <cmath>
#include <vector>

namespace ivme {
namespace {

// Trees walked side by side: the steps of one tree wait for each other's loads, those of others do
// not.
constexpr int64_t kTogether = 8;

inline bool is_leaf(const TreeNode& node) { return node.feature < 0; }

inline int32_t child(const TreeNode& node, double value) {
    const bool goes_right = std::isnan(value) ? node.missing_left == 0 : value >= node.threshold;
    return goes_right ? node.right : node.left;
}

void find_leaves(const Forest& forest, const double* row, int64_t first, int64_t count,
                 int32_t* leaves) {
    int32_t at[kTogether];
    for (int64_t i = 0; i < count; ++i) at[i] = forest.roots[first + i];
    for (bool is_walking = true; is_walking;) {
        is_walking = false;
        for (int64_t i = 0; i < count; ++i) {
            const TreeNode& node = forest.nodes[at[i]];
            if (is_leaf(node)) continue;
            at[i] = child(node, row[node.feature]);
            is_walking = true;
        }
    }
    for (int64_t i = 0; i < count; ++i) leaves[i] = forest.nodes[at[i]].left;
}

void add_row(const Forest& forest, const double* row, double* scores) {
    int32_t leaves[kTogether];
    for (int64_t first = 0; first < forest.trees; first += kTogether) {
        const int64_t left = forest.trees - first;
        const int64_t count = left < kTogether ? left : kTogether;
        find_leaves(forest, row, first, count, leaves);
        for (int64_t i = 0; i < count; ++i) {
            const double* leaf = forest.leaf_values + leaves[i] * forest.leaf_width;
            double* score = scores + forest.outputs[first + i];
            for (int64_t k = 0; k < forest.leaf_width; ++k) score[k] += leaf[k];
        }
    }
}

}  // namespace

void add_forest_scores(const Forest& forest, const SparseRows& rows, double* scores,
                       int64_t score_width) {
    std::vector<double> row(static_cast<size_t>(forest.read_features), 0.0);
    for (int64_t r = 0; r < rows.rows; ++r) {
        for (int64_t j = rows.starts[r]; j < rows.starts[r + 1]; ++j) {
            const int32_t slot = forest.slots[rows.indices[j]];
            if (slot < 0) continue;
            const double value = rows.values[j];
            row[slot] =
                forest.has_float_inputs ? static_cast<double>(static_cast<float>(value)) : value;
        }
        add_row(forest, row.data(), scores + r * score_width);
        for (int64_t j = rows.starts[r]; j < rows.starts[r + 1]; ++j) {
            const int32_t slot = forest.slots[rows.indices[j]];
            if (slot >= 0) row[slot] = 0.0;
        }
    }
}

}  // namespace ivme
