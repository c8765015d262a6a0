// Responses of HTTP/1.1: where one ends, and its status. Bodies are counted, not kept.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace ivme {

enum class Progress { kMore, kWhole, kBad };  // kBad: this is no HTTP/1.1

// Finds the end of a chunked body.
class Chunks {
public:
    Progress feed(std::string_view data);

private:
    bool read_size();

    std::string line_;  // the part of a size or trailer line that came
    size_t left_ = 0;   // bytes of the chunk still to come, its line end counted
    bool is_trailer_ = false;
};

// Reads one response from whatever pieces it comes in.
class Response {
public:
    Progress feed(std::string_view data);

    // Whether the end of the connection completes it.
    bool ends_with_connection() const { return status_ != 0 && length_ == Length::kOpen; }
    // Whether the server closes the connection after it.
    bool is_last() const { return is_last_; }
    int status() const { return status_; }             // 0 until the head was read
    const std::string& body() const { return body_; }  // the beginning of one that is no success

private:
    enum class Length { kOpen, kKnown, kChunked };

    Progress read_head(std::string_view& data);
    Progress read_headers(std::string_view head);

    std::string head_;
    std::string body_;
    Chunks chunks_;
    size_t left_ = 0;  // bytes of the body still to come, if its length is known
    int status_ = 0;
    Length length_ = Length::kOpen;
    bool is_last_ = false;
};

}  // namespace ivme
