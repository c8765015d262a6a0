// The table of entry points of the instruction set this file is compiled for.
#include "kernels/entry_points.h"

namespace mm_rec::MM_REC_ISA {

extern const Kernels kernels;
const Kernels kernels = {
    cumulative_product,
};

}  // namespace mm_rec::MM_REC_ISA
