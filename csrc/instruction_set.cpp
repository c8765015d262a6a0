#include "instruction_set.h"

#include <atomic>
#include <stdexcept>

namespace mm_rec {
namespace {

struct InstructionSet {
    const char* name;
    const Kernels* kernels;
    bool usable;
};

#ifdef MM_REC_X86
bool has_avx512() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

// Best first; the portable one runs anywhere.
const std::vector<InstructionSet>& known() {
    static const std::vector<InstructionSet> sets = {
#ifdef MM_REC_X86
        // Rounds to bfloat16 in one instruction instead of eight.
        {"avx512_bf16", &avx512_bf16::kernels,
         has_avx512() && __builtin_cpu_supports("avx512bf16")},
        {"avx512", &avx512::kernels, has_avx512()},
        {"avx2", &avx2::kernels, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
#endif
        {"portable", &portable::kernels, true},
    };
    return sets;
}

const InstructionSet* best() {
    for (const InstructionSet& set : known())
        if (set.usable) return &set;
    return nullptr;  // not reached: the portable set is always usable
}

std::atomic<const InstructionSet*>& current() {
    static std::atomic<const InstructionSet*> set{best()};
    return set;
}

}  // namespace

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const InstructionSet& set : known())
        if (set.usable) names.emplace_back(set.name);
    return names;
}

std::string instruction_set() { return current().load()->name; }

void set_instruction_set(const std::string& name) {
    std::string usable;
    for (const InstructionSet& set : known()) {
        if (!set.usable) continue;
        if (name == set.name) {
            current().store(&set);
            return;
        }
        usable += usable.empty() ? set.name : std::string(", ") + set.name;
    }
    throw std::invalid_argument("instruction set '" + name +
                                "' does not run here; expected one of " + usable + ".");
}

const Kernels& kernels() { return *current().load()->kernels; }

}  // namespace mm_rec
