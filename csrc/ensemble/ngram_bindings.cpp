// Reads Python's texts, releases the GIL, weighs and measures.
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
template <typename T>
using Vector = nb::ndarray<nb::ro, T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Matrix = nb::ndarray<nb::ro, T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

std::vector<CodePoint> code_points(nb::handle text) {
    const size_t length = static_cast<size_t>(PyUnicode_GET_LENGTH(text.ptr()));
    const void* data = PyUnicode_DATA(text.ptr());
    const auto read = [&](const auto* points) {
        return std::vector<CodePoint>(points, points + length);
    };
    switch (PyUnicode_KIND(text.ptr())) {
        case PyUnicode_1BYTE_KIND:
            return read(static_cast<const Py_UCS1*>(data));
        case PyUnicode_2BYTE_KIND:
            return read(static_cast<const Py_UCS2*>(data));
        default:
            return read(static_cast<const Py_UCS4*>(data));
    }
}

uint8_t ask_python(CodePoint point) {
    int kinds = 0;
    if (Py_UNICODE_ISALNUM(point) || point == '_') kinds |= kWord;
    if (Py_UNICODE_ISSPACE(point)) kinds |= kSpace;
    if (Py_UNICODE_ISALPHA(point)) kinds |= kLetter;
    if (Py_UNICODE_ISUPPER(point)) kinds |= kUpper;
    if (Py_UNICODE_ISLOWER(point)) kinds |= kLower;
    if (Py_UNICODE_ISDIGIT(point)) kinds |= kDigit;
    return static_cast<uint8_t>(kinds);
}

const CharacterKinds& kinds_of_python() {
    static const CharacterKinds kinds(ask_python);
    return kinds;
}

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

std::vector<double> copied(const Vector<double>& values) {
    return {values.data(), values.data() + values.shape(0)};
}

NgramBlock make_block(const std::string& splitting, size_t shortest, size_t longest,
                      const nb::sequence& ngrams, const Vector<double>& idf,
                      const Vector<double>& weight_of_count) {
    if (shortest < 1 || longest < shortest)
        throw std::invalid_argument("shortest, longest: expected 1 <= shortest <= longest");
    std::vector<std::vector<CodePoint>> points;
    for (nb::handle ngram : ngrams) points.push_back(code_points(nb::cast<nb::str>(ngram)));
    if (points.size() != idf.shape(0))
        throw std::invalid_argument("idf: expected one for each n-gram");
    return NgramBlock({splitting_of(splitting), shortest, longest}, kinds_of_python(), points,
                      copied(idf), copied(weight_of_count));
}

auto weigh(const NgramBlock& block, const nb::str& text, int32_t first) {
    const std::vector<CodePoint> points = code_points(text);
    std::vector<int32_t> columns;
    std::vector<double> weights;
    {
        const nb::gil_scoped_release released;
        block.weigh(points, first, columns, weights);
    }
    return nb::make_tuple(to_numpy(std::move(columns)), to_numpy(std::move(weights)));
}

nb::str single_blanks(const nb::str& text) {
    const std::vector<CodePoint> points = code_points(text);
    const std::vector<CodePoint> kept = with_single_blanks(points, kinds_of_python());
    if (kept == points) return text;
    PyObject* made = PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, kept.data(),
                                               static_cast<Py_ssize_t>(kept.size()));
    if (made == nullptr) throw nb::python_error();
    return nb::steal<nb::str>(made);
}

auto style(const nb::str& text) {
    const std::vector<CodePoint> points = code_points(text);
    std::vector<double> figures;
    {
        const nb::gil_scoped_release released;
        figures = measure_style(points, kinds_of_python());
    }
    return to_numpy(std::move(figures));
}

std::vector<std::string> names_of_style() { return {style_names().begin(), style_names().end()}; }

}  // namespace

void bind_ngrams(nb::module_& module) {
    nb::class_<NgramBlock>(module, "NgramBlock")
        .def(nb::new_(&make_block), nb::arg("splitting"), nb::arg("shortest"), nb::arg("longest"),
             nb::arg("ngrams"), nb::arg("idf"), nb::arg("weight_of_count"))
        .def("weigh", &weigh, nb::arg("text"), nb::arg("first"),
             "Return the columns of the n-grams in the text, rising from `first` on, and their "
             "weights.");
    module.def("with_single_blanks", &single_blanks, nb::arg("text"),
               "Return the text with its words one blank apart.");
    module.def("measure_style", &style, nb::arg("text"),
               "Return the figures of how a text is written, in the order of style_names().");
    module.def("style_names", &names_of_style);
}

}  // namespace ivme
