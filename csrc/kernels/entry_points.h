// Entry points that each kernel file defines, declared once per instruction set.
#pragma once

#include "kernels.h"

namespace mm_rec::MM_REC_ISA {

bool cumulative_product(const CumulativeProduct& call);

}  // namespace mm_rec::MM_REC_ISA
