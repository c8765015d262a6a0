// The parts of the module ivme.ensemble._kernels. It knows nothing of torch.
#pragma once

#include <nanobind/nanobind.h>

namespace ivme {

void bind_forest(nanobind::module_& module);
void bind_ngrams(nanobind::module_& module);

}  // namespace ivme
