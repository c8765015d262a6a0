#include "bindings.h"

NB_MODULE(_kernels, module) {
    ivme::bind_forest(module);
    ivme::bind_ngrams(module);
}
