// The Python side of decoding, defined apart from the ops: it keeps hold of a model's weights.
#pragma once

#include <nanobind/nanobind.h>

namespace mm_rec {

// Adds the class DecodeModel to the module.
void define_decoding(nanobind::module_& module);

}  // namespace mm_rec
