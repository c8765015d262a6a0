// Reads Python's texts, releases the GIL, counts and measures.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "ngrams.h"
#include "style.h"

namespace nb = nanobind;

namespace ivme {
namespace {

template <typename T>
using NumpyVector = nb::ndarray<nb::numpy, T, nb::ndim<1>>;

std::vector<CodePoint> code_points(nb::handle text) {
    const Py_ssize_t length = PyUnicode_GET_LENGTH(text.ptr());
    const int kind = PyUnicode_KIND(text.ptr());
    const void* data = PyUnicode_DATA(text.ptr());
    std::vector<CodePoint> points(static_cast<size_t>(length));
    for (Py_ssize_t at = 0; at < length; ++at) points[at] = PyUnicode_READ(kind, data, at);
    return points;
}

// As \w and \s of Python's `re`.
bool is_word(CodePoint point) { return Py_UNICODE_ISALNUM(point) || point == '_'; }
bool is_space(CodePoint point) { return Py_UNICODE_ISSPACE(point); }

Splitting splitting_of(const std::string& name) {
    if (name == "word") return Splitting::kWords;
    if (name == "token") return Splitting::kTokens;
    if (name == "char") return Splitting::kCharacters;
    if (name == "char_wb") return Splitting::kCharactersInWords;
    throw std::invalid_argument("splitting: expected word, token, char or char_wb");
}

template <typename T>
NumpyVector<T> to_numpy(std::vector<T>&& values) {
    auto* kept = new std::vector<T>(std::move(values));
    nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    return NumpyVector<T>(kept->data(), {kept->size()}, owner);
}

NgramCounter make_counter(const std::string& splitting, size_t shortest, size_t longest,
                          const nb::sequence& ngrams) {
    if (shortest < 1 || longest < shortest)
        throw std::invalid_argument("shortest, longest: expected 1 <= shortest <= longest");
    std::vector<std::vector<CodePoint>> points;
    for (nb::handle ngram : ngrams) points.push_back(code_points(nb::cast<nb::str>(ngram)));
    return NgramCounter(splitting_of(splitting), shortest, longest, {is_word, is_space}, points);
}

auto count(const NgramCounter& counter, const nb::str& text) {
    const std::vector<CodePoint> points = code_points(text);
    std::vector<int32_t> numbers;
    std::vector<double> counts;
    {
        const nb::gil_scoped_release released;
        counter.count(points, numbers, counts);
    }
    return nb::make_tuple(to_numpy(std::move(numbers)), to_numpy(std::move(counts)));
}

bool is_letter(CodePoint point) { return Py_UNICODE_ISALPHA(point); }
bool is_upper(CodePoint point) { return Py_UNICODE_ISUPPER(point); }
bool is_lower(CodePoint point) { return Py_UNICODE_ISLOWER(point); }
bool is_digit(CodePoint point) { return Py_UNICODE_ISDIGIT(point); }

auto style(const nb::str& text) {
    const std::vector<CodePoint> points = code_points(text);
    std::vector<double> figures;
    {
        const nb::gil_scoped_release released;
        figures = measure_style(points, {is_letter, is_upper, is_lower, is_digit, is_space});
    }
    return to_numpy(std::move(figures));
}

std::vector<std::string> names_of_style() {
    return {style_names().begin(), style_names().end()};
}

}  // namespace

void bind_ngrams(nb::module_& module) {
    nb::class_<NgramCounter>(module, "NgramCounter")
        .def(nb::new_(&make_counter), nb::arg("splitting"), nb::arg("shortest"), nb::arg("longest"),
             nb::arg("ngrams"))
        .def("count", &count, nb::arg("text"),
             "Return the numbers of the n-grams in the text, rising, and their counts.");
    module.def("measure_style", &style, nb::arg("text"),
               "Return the figures of how a text is written, in the order of style_names().");
    module.def("style_names", &names_of_style);
}

}  // namespace ivme
