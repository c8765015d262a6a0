// The Python side of the recurrence whose gates see the state.
#pragma once

#include <nanobind/nanobind.h>

namespace mm_rec {

// Adds exact_recurrence and its backward pass to the module.
void define_exact_recurrence(nanobind::module_& module);

}  // namespace mm_rec
