// A forest as flat arrays, and rows of sparse features to run through it.
#pragma once

#include <cstdint>

namespace ivme {

// Goes right where value >= threshold; a missing value goes left where missing_left is 1. A
// threshold of NaN sends every value that is there to the left. A leaf has feature -1, and its
// index in `left`.
struct TreeNode {
    double threshold;
    int32_t feature;
    int32_t left;
    int32_t right;
    int32_t missing_left;
};
static_assert(sizeof(TreeNode) == 24, "the layout of NODE in src/ivme/ensemble/trees.py");

struct Forest {
    const TreeNode* nodes;
    const int32_t* roots;       // [trees]
    const int32_t* outputs;     // [trees], the first column of `scores` that a tree adds to
    const double* leaf_values;  // [leaves, leaf_width]
    int64_t trees;
    int64_t leaf_width;
    const int32_t* slots;   // [features], where a feature lies in the row of a walk; -1: unread
    int64_t read_features;  // the features that some node reads; nodes name them by slot
    bool has_float_inputs;  // values are rounded to fp32 before they are compared
};

struct SparseRows {
    const int64_t* starts;   // [rows + 1]
    const int32_t* indices;  // [stored]
    const double* values;    // [stored]
    int64_t rows;
};

// Adds the leaves that each row reaches to scores [rows, score_width], tree after tree.
void add_forest_scores(const Forest& forest, const SparseRows& rows, double* scores,
                       int64_t score_width);

}  // namespace ivme
