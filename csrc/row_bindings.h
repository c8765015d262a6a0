// The Python side of the kernels that treat each row alone.
#pragma once

#include <nanobind/nanobind.h>

namespace mm_rec {

// Adds norms, activations, sums and losses of rows to the module.
void define_row_kernels(nanobind::module_& module);

}  // namespace mm_rec
