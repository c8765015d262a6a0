// Which instruction set the kernels run on: the best this processor has, unless one is forced.
#pragma once

#include <string>
#include <vector>

#include "kernels.h"

namespace mm_rec {

// Names of the sets that this build has and this processor runs, best first.
std::vector<std::string> instruction_sets();

// Name of the set in use.
std::string instruction_set();

// Uses the named set from now on. Throws std::invalid_argument if it is not one of those usable.
void set_instruction_set(const std::string& name);

// The kernels of the set in use.
const Kernels& kernels();

}  // namespace mm_rec
