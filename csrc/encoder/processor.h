// Which of the compiled instruction sets this processor runs.
#pragma once

#include <string>
#include <vector>

#include "encoder.h"

namespace mm_rec {

struct EncoderSet {
    const char* name;
    const EncoderKernels* kernels;
};

// Best first; empty on a processor without AVX-512 and VNNI. Asks the system for matrix tiles.
const std::vector<EncoderSet>& encoder_sets();

}  // namespace mm_rec
