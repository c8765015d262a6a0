#include "response.h"

#include <algorithm>
#include <charconv>

namespace ivme {
namespace {

constexpr size_t kMostHeadBytes = 65'536;
constexpr size_t kKeptBodyBytes = 400;  // of an answer that is no success: what the server says
constexpr std::string_view kHeadEnd = "\r\n\r\n";
constexpr std::string_view kVersion = "HTTP/1.";
constexpr std::string_view kBlanks = " \t\r\n";

char lower(char one) { return one >= 'A' && one <= 'Z' ? static_cast<char>(one - 'A' + 'a') : one; }

std::string_view trimmed(std::string_view text) {
    const size_t start = text.find_first_not_of(kBlanks);
    if (start == std::string_view::npos) return {};
    return text.substr(start, text.find_last_not_of(kBlanks) - start + 1);
}

// The value of a header from a head in lower case; empty if it has none.
std::string_view header(std::string_view head, const std::string& name) {
    const std::string start = "\r\n" + name + ":";
    const size_t at = head.find(start);
    if (at == std::string_view::npos) return {};
    const std::string_view rest = head.substr(at + start.size());
    return trimmed(rest.substr(0, rest.find("\r\n")));
}

bool contains(std::string_view text, std::string_view part) {
    return text.find(part) != std::string_view::npos;
}

// Reads a number that is the whole text; false if it is none.
bool read_number(std::string_view text, int base, size_t& number) {
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, number, base);
    return error == std::errc() && rest == end;
}

}  // namespace

Progress Response::feed(std::string_view data) {
    if (status_ == 0) {
        const Progress found = read_head(data);
        if (found != Progress::kWhole) return found;
    }
    if (status_ >= 300) body_.append(data.substr(0, kKeptBodyBytes - body_.size()));
    if (length_ == Length::kChunked) return chunks_.feed(data);
    if (length_ == Length::kOpen) return Progress::kMore;
    if (data.size() > left_) return Progress::kBad;  // more than was announced
    left_ -= data.size();
    return left_ == 0 ? Progress::kWhole : Progress::kMore;
}

// Whole once the head was read; data is then what came after it, within head_.
Progress Response::read_head(std::string_view& data) {
    head_.append(data);
    for (;;) {
        const size_t end = head_.find(kHeadEnd);
        if (end == std::string::npos) {
            const std::string_view start = std::string_view(head_).substr(0, kVersion.size());
            const bool may_be = kVersion.substr(0, start.size()) == start;
            return may_be && head_.size() <= kMostHeadBytes ? Progress::kMore : Progress::kBad;
        }
        const std::string_view head = std::string_view(head_).substr(0, end + 2);
        size_t status = 0;
        const std::string_view version = head.substr(0, 8);
        if ((version != "HTTP/1.1" && version != "HTTP/1.0") || head.size() < 14 ||
            !read_number(head.substr(9, 3), 10, status) || status < 100)
            return Progress::kBad;
        if (status >= 200) {
            status_ = static_cast<int>(status);
            data = std::string_view(head_).substr(end + kHeadEnd.size());
            return read_headers(head);
        }
        head_.erase(0, end + kHeadEnd.size());  // an interim response; the real one follows
    }
}

Progress Response::read_headers(std::string_view head) {
    std::string lowered(head);
    std::transform(lowered.begin(), lowered.end(), lowered.begin(), lower);
    const std::string_view connection = header(lowered, "connection");
    const bool is_old = head.substr(0, 8) == "HTTP/1.0";
    is_last_ = contains(connection, "close") || (is_old && !contains(connection, "keep-alive"));
    const std::string_view length = header(lowered, "content-length");
    if (status_ == 204 || status_ == 304) {
        length_ = Length::kKnown;
    } else if (contains(header(lowered, "transfer-encoding"), "chunked")) {
        length_ = Length::kChunked;
    } else if (!length.empty()) {
        length_ = Length::kKnown;
        if (!read_number(length, 10, left_)) return Progress::kBad;
    } else {
        is_last_ = true;
    }
    return Progress::kWhole;
}

Progress Chunks::feed(std::string_view data) {
    while (!data.empty()) {
        if (left_ != 0) {
            const size_t step = std::min(left_, data.size());
            left_ -= step;
            data.remove_prefix(step);
            continue;
        }
        const size_t end = data.find('\n');
        line_.append(data.substr(0, end));
        if (line_.size() > kMostHeadBytes) return Progress::kBad;
        if (end == std::string_view::npos) return Progress::kMore;
        data.remove_prefix(end + 1);
        if (is_trailer_ && trimmed(line_).empty()) return Progress::kWhole;
        if (!is_trailer_ && !read_size()) return Progress::kBad;
        line_.clear();
    }
    return Progress::kMore;
}

bool Chunks::read_size() {
    size_t size = 0;
    const std::string_view line(line_);
    if (!read_number(trimmed(line.substr(0, line.find(';'))), 16, size)) return false;
    is_trailer_ = size == 0;
    left_ = size == 0 ? 0 : size + 2;
    return true;
}

}  // namespace ivme
