#include "driver.h"

#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <limits>
#include <system_error>
#include <utility>

namespace ivme {
namespace {

// Servers close connections that rest, most after 5 s or more; a request sent at that moment would
// be lost without the server being at fault.
constexpr double kMostRest = 2.0;
constexpr double kSweepEvery = 0.05;         // between looks at what takes too long
constexpr double kPauseAfterFailure = 0.05;  // of a waiting client: it must not spin
constexpr int kMostEvents = 64;              // read at once
constexpr size_t kReadBytes = 65'536;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double seconds(clockid_t clock) {
    timespec moment{};
    clock_gettime(clock, &moment);
    return static_cast<double>(moment.tv_sec) + 1e-9 * static_cast<double>(moment.tv_nsec);
}

[[noreturn]] void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
}

int32_t connect_outcome(int error) {
    if (error == ECONNREFUSED) return kRefused;
    if (error == ECONNRESET) return kReset;
    return kNoConnection - error;
}

// A socket that connects to a numeric address, below 0 if it cannot; errno says why, EINPROGRESS
// that it is on its way.
int start_connecting(const std::string& address, int port) {
    addrinfo hints{};
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, freeaddrinfo);
    const int file = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (file < 0) return -1;
    const int at_once = 1;
    setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
    errno = 0;
    if (connect(file, found->ai_addr, found->ai_addrlen) == 0 || errno == EINPROGRESS) return file;
    const int error = errno;
    ::close(file);
    errno = error;
    return -1;
}

}  // namespace

Driver::Driver(Load load)
    : load_(std::move(load)),
      start_(seconds(CLOCK_MONOTONIC) + load_.warm_up_s),
      stopped_at_(kNaN) {
    events_ = epoll_create1(EPOLL_CLOEXEC);
    wake_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (events_ < 0 || wake_ < 0) fail("cannot wait for answers");
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = nullptr;
    if (epoll_ctl(events_, EPOLL_CTL_ADD, wake_, &event) != 0) fail("cannot wait for answers");
}

Driver::~Driver() {
    for (const auto& connection : connections_) ::close(connection->file);
    if (wake_ >= 0) ::close(wake_);
    if (events_ >= 0) ::close(events_);
}

void Driver::run() {
    prctl(PR_SET_TIMERSLACK, 1UL);  // of this thread: wake when asked to, not up to 50 us later
    const double began = seconds(CLOCK_MONOTONIC), busy = seconds(CLOCK_THREAD_CPUTIME_ID);
    {
        const std::lock_guard<std::mutex> held(mutex_);
        start_ = began + load_.warm_up_s;
        sweep_at_ = now() + kSweepEvery;
        for (int64_t client = 0; client < load_.clients; ++client) send_next();
    }
    for (;;) {
        {
            const std::lock_guard<std::mutex> held(mutex_);
            follow_clock();
            if (is_over()) break;
            if (is_stopped_) {
                stopped_at_ = now();
                break;
            }
        }
        wait_until(next_wake());
        const std::lock_guard<std::mutex> held(mutex_);
        send_due();  // first: answers wait in the kernel, requests are late
        read_events();
        closed_.clear();
    }
    const double took = seconds(CLOCK_MONOTONIC) - began;
    busy_share_ = (seconds(CLOCK_THREAD_CPUTIME_ID) - busy) / took;
    const std::lock_guard<std::mutex> held(mutex_);
    while (!connections_.empty()) close(connections_.back().get());
}

void Driver::stop() {
    is_stopped_ = true;
    const uint64_t one = 1;
    (void)!::write(wake_, &one, sizeof one);
}

Look Driver::look() {
    const std::lock_guard<std::mutex> held(mutex_);
    Look found{now(), static_cast<int64_t>(samples_.outcomes.size()), in_flight_, counts_, {}};
    found.recent_s.swap(recent_s_);
    return found;
}

double Driver::now() const { return seconds(CLOCK_MONOTONIC) - start_; }

double Driver::next_wake() const {
    double moment = sweep_at_;
    if (!is_sending_) return moment;
    if (load_.clients > 0) moment = std::min(moment, load_.duration_s);
    if (next_due_ < load_.due_s.size()) moment = std::min(moment, load_.due_s[next_due_]);
    return paused_.empty() ? moment : std::min(moment, paused_.front());
}

// Wait for events or the moment. epoll_wait(2) counts in milliseconds, ppoll(2) does not.
void Driver::wait_until(double moment) const {
    const double left = std::max(0.0, moment - now());
    timespec timeout{};
    timeout.tv_sec = static_cast<time_t>(left);
    timeout.tv_nsec = static_cast<long>((left - std::floor(left)) * 1e9);
    pollfd watched{events_, POLLIN, 0};
    if (ppoll(&watched, 1, &timeout, nullptr) < 0 && errno != EINTR)
        fail("cannot wait for answers");
}

void Driver::read_events() {
    epoll_event events[kMostEvents];
    const int count = epoll_wait(events_, events, kMostEvents, 0);
    if (count < 0 && errno != EINTR) fail("cannot wait for answers");
    for (int at = 0; at < count; ++at) {
        Connection* const connection = static_cast<Connection*>(events[at].data.ptr);
        if (connection == nullptr) {  // stop() was called
            uint64_t ignored;
            (void)!::read(wake_, &ignored, sizeof ignored);
        } else if (connection->file >= 0 && !connection->is_open) {
            connected(connection);
        } else {
            if (connection->file >= 0 && connection->awaits_room) write(connection);
            if (connection->file >= 0 && (events[at].events & ~EPOLLOUT)) read(connection);
        }
    }
}

void Driver::follow_clock() {
    send_due();
    const double moment = now();
    if (load_.clients > 0 && is_sending_ && moment >= load_.duration_s) is_sending_ = false;
    while (!paused_.empty() && paused_.front() <= moment) {
        paused_.pop_front();
        send_next();
    }
    if (sweep_at_ <= moment) {
        sweep();
        sweep_at_ = moment + kSweepEvery;
    }
}

// Send every request that is due by now.
void Driver::send_due() {
    if (load_.clients > 0 || !is_sending_) return;
    while (next_due_ < load_.due_s.size()) {
        const double due = load_.due_s[next_due_], moment = now();
        if (due > moment) return;
        ++next_due_;
        begin_request(due, moment);
    }
    is_sending_ = false;
}

// Send the next request of a client that waits for its answers.
void Driver::send_next() {
    if (!is_sending_) return;
    const double moment = now();
    begin_request(moment, moment);
}

void Driver::begin_request(double due, double moment) {
    const int64_t request = static_cast<int64_t>(samples_.outcomes.size());
    samples_.due_s.push_back(due);
    samples_.begun_s.push_back(moment);
    samples_.sent_s.push_back(kNaN);
    samples_.ended_s.push_back(kNaN);
    samples_.outcomes.push_back(kUnfinished);
    flights_.emplace_back();
    ++in_flight_;
    serve(request);
}

// Send a request on a free connection, on a new one, or when one is free at last.
void Driver::serve(int64_t request) {
    if (!resting_.empty()) {
        Connection* const connection = resting_.back();
        resting_.pop_back();
        send(connection, request);
    } else if (static_cast<int64_t>(connections_.size()) < load_.most_connections) {
        connect_next(new_connection(request), EADDRNOTAVAIL);
    } else {
        ++waited_;
        waiting_.push_back(request);
    }
}

bool Driver::is_waiting(int64_t request) const {
    return request >= first_ && !flights_[static_cast<size_t>(request - first_)].is_done;
}

bool Driver::serve_waiting(Connection* connection) {
    while (!waiting_.empty()) {
        const int64_t request = waiting_.front();
        waiting_.pop_front();
        if (is_waiting(request)) {  // else it took too long
            send(connection, request);
            return true;
        }
    }
    return false;
}

void Driver::open_for_waiting() {
    while (!waiting_.empty() &&
           static_cast<int64_t>(connections_.size()) < load_.most_connections) {
        const int64_t request = waiting_.front();
        waiting_.pop_front();
        if (is_waiting(request)) connect_next(new_connection(request), EADDRNOTAVAIL);
    }
}

Driver::Connection* Driver::new_connection(int64_t request) {
    connections_.push_back(std::make_unique<Connection>());
    Connection* const connection = connections_.back().get();
    connection->place = connections_.size() - 1;
    connection->request = request;
    flight(request).connection = connection;
    return connection;
}

// Connect to the first address that answers, from the connection's own on; error: of the one
// before it. If none does, the request has its outcome.
void Driver::connect_next(Connection* connection, int error) {
    for (; connection->address < load_.addresses.size(); ++connection->address) {
        connection->file = start_connecting(load_.addresses[connection->address], load_.port);
        if (connection->file >= 0) {
            watch(connection, true, EPOLL_CTL_ADD);
            return;
        }
        error = errno;
    }
    const int64_t request = std::exchange(connection->request, kNone);
    close(connection);
    finish(request, connect_outcome(error), {});
}

void Driver::connected(Connection* connection) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(connection->file, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error == 0) {
        ++opened_;
        connection->is_open = true;
        send(connection, connection->request);
        return;
    }
    ::close(std::exchange(connection->file, -1));
    ++connection->address;
    connect_next(connection, error);
    open_for_waiting();
}

void Driver::send(Connection* connection, int64_t request) {
    connection->request = request;
    connection->has_answer = false;
    connection->response = Response();
    connection->written = 0;
    fill(connection->out, request);
    flight(request).connection = connection;
    samples_.sent_s[static_cast<size_t>(request)] = now();
    write(connection);
}

void Driver::fill(std::string& out, int64_t request) const {
    const std::string& body = load_.bodies[static_cast<size_t>(request) % load_.bodies.size()];
    const std::string number = load_.end.empty() ? "" : std::to_string(request);
    const size_t length = body.size() + load_.mark.size() + number.size() + load_.end.size();
    out.assign(load_.head);
    out.append("Content-Length: ").append(std::to_string(length)).append("\r\n\r\n");
    out.append(body).append(load_.mark).append(number).append(load_.end);
}

void Driver::write(Connection* connection) {
    while (connection->written < connection->out.size()) {
        const ssize_t count = ::send(connection->file, connection->out.data() + connection->written,
                                     connection->out.size() - connection->written, MSG_NOSIGNAL);
        if (count >= 0) {
            connection->written += static_cast<size_t>(count);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (!connection->awaits_room) watch(connection, true, EPOLL_CTL_MOD);
            return;
        } else if (errno != EINTR) {
            lost(connection, errno);
            return;
        }
    }
    if (connection->awaits_room) watch(connection, false, EPOLL_CTL_MOD);
}

void Driver::read(Connection* connection) {
    static thread_local char buffer[kReadBytes];
    const ssize_t count = recv(connection->file, buffer, sizeof buffer, 0);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
    if (count <= 0) {
        lost(connection, count < 0 ? errno : 0);
        return;
    }
    if (connection->request == kNone) {  // nothing was asked for
        lost(connection, 0);
        return;
    }
    connection->has_answer = true;
    switch (connection->response.feed({buffer, static_cast<size_t>(count)})) {
        case Progress::kMore:
            return;
        case Progress::kWhole:
            release(connection);
            return;
        case Progress::kBad:
            const int64_t request = std::exchange(connection->request, kNone);
            close(connection);
            finish(request, kNotHttp, {});
            open_for_waiting();
    }
}

// Take a connection back whose response is whole.
void Driver::release(Connection* connection) {
    const int64_t request = std::exchange(connection->request, kNone);
    const Response response = std::move(connection->response);
    if (connection->file < 0) {
        // it was closed to end the response
    } else if (response.is_last() || connection->written < connection->out.size()) {
        close(connection);
    } else if (!serve_waiting(connection)) {
        connection->rests_since = now();
        resting_.push_back(connection);
    }
    finish(request, response.status(), response.body());
    open_for_waiting();
}

// Take that a connection is closed; error: 0 if the server closed it in order.
void Driver::lost(Connection* connection, int error) {
    const int64_t request = connection->request;
    close(connection);
    if (request != kNone && connection->response.ends_with_connection()) {
        release(connection);
        return;
    }
    connection->request = kNone;
    if (request != kNone)
        finish(request, connection->has_answer ? kCut : error != 0 ? kReset : kUnanswered, {});
    open_for_waiting();
}

// Close at once; a request on it gets no outcome from here.
void Driver::close(Connection* connection) {
    if (connection->file >= 0) ::close(std::exchange(connection->file, -1));
    const auto rests = std::find(resting_.begin(), resting_.end(), connection);
    if (rests != resting_.end()) resting_.erase(rests);
    std::swap(connections_[connection->place], connections_.back());
    connections_[connection->place]->place = connection->place;
    closed_.push_back(std::move(connections_.back()));
    connections_.pop_back();
}

void Driver::watch(Connection* connection, bool awaits_room, int operation) {
    connection->awaits_room = awaits_room;
    epoll_event event{};
    event.events = EPOLLIN | (awaits_room ? EPOLLOUT : 0u);
    event.data.ptr = connection;
    if (epoll_ctl(events_, operation, connection->file, &event) != 0)
        fail("cannot wait for answers");
}

// Note an outcome; a waiting client goes on.
void Driver::finish(int64_t request, int32_t outcome, const std::string& body) {
    if (!is_waiting(request)) return;
    InFlight& ended = flight(request);
    ended.is_done = true;
    ended.connection = nullptr;
    --in_flight_;
    while (!flights_.empty() && flights_.front().is_done) {
        flights_.pop_front();
        ++first_;
    }
    const size_t at = static_cast<size_t>(request);
    const double moment = now();
    samples_.ended_s[at] = moment;
    samples_.outcomes[at] = outcome;
    ++counts_[outcome];
    recent_s_.push_back(moment - samples_.due_s[at]);
    if (!body.empty()) bodies_.emplace(outcome, body);
    if (load_.clients == 0 || !is_sending_) return;
    if (outcome > 0)
        send_next();
    else
        paused_.push_back(moment + kPauseAfterFailure);
}

// Give up requests that take too long, and close connections that rest too long.
void Driver::sweep() {
    const double moment = now();
    std::vector<int64_t> late;
    for (size_t at = 0; at < flights_.size(); ++at) {
        const int64_t request = first_ + static_cast<int64_t>(at);
        if (samples_.due_s[static_cast<size_t>(request)] + load_.timeout_s > moment) break;
        if (!flights_[at].is_done) late.push_back(request);
    }
    for (const int64_t request : late) {
        Connection* const connection = flight(request).connection;
        if (connection != nullptr) {
            connection->request = kNone;
            close(connection);
        }
        finish(request, kTimedOut, {});
    }
    while (!resting_.empty() && moment - resting_.front()->rests_since > kMostRest)
        close(resting_.front());
    open_for_waiting();
}

}  // namespace ivme
