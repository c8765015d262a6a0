// How a text is written, apart from what it says: figures that hold for texts of any length.
#pragma once

#include <cstddef>
#include <vector>

#include "characters.h"

namespace ivme {

// The name of each figure, in order.
const std::vector<const char*>& style_names();

// Returns the figures of a text; one without words has zeros alone.
std::vector<double> measure_style(const std::vector<CodePoint>& text, const CharacterKinds& kinds);

}  // namespace ivme
