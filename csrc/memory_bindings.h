// The Python side of the chunked matrix memory.
#pragma once

#include <nanobind/nanobind.h>

namespace mm_rec {

// Adds chunked_memory and its backward pass to the module.
void define_chunked_memory(nanobind::module_& module);

}  // namespace mm_rec
