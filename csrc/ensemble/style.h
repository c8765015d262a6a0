// How a text is written, apart from what it says: figures that hold for texts of any length.
#pragma once

#include <cstddef>
#include <vector>

#include "ngrams.h"

namespace ivme {

// What a code point is, as Python's str methods have it.
struct LetterKinds {
    bool (*is_letter)(CodePoint);
    bool (*is_upper)(CodePoint);
    bool (*is_lower)(CodePoint);
    bool (*is_digit)(CodePoint);
    bool (*is_space)(CodePoint);
};

// The name of each figure, in order.
const std::vector<const char*>& style_names();

// Returns the figures of a text; one without words has zeros alone.
std::vector<double> measure_style(const std::vector<CodePoint>& text, const LetterKinds& kinds);

}  // namespace ivme
