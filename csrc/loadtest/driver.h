// The generator of a load test: sends what is due when it is due, or what waiting clients would
// ask next, over connections of HTTP/1.1, and notes when each request was sent and answered.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "response.h"

namespace ivme {

struct Load {
    std::vector<std::string> addresses;  // numeric, in the order in which to try them
    int port;
    std::string head;                 // of a request, all but its length
    std::vector<std::string> bodies;  // sent one after the other, again and again
    std::string mark, end;      // after each body, the number of the request between them; or empty
    std::vector<double> due_s;  // of an open loop, since the start of what counts
    int64_t clients;            // of a closed loop, that wait for their answers; 0: an open loop
    double warm_up_s, duration_s, timeout_s;
    int64_t most_connections;
};

// What became of a request: the status of its answer, or one of these, or kNoConnection - errno.
enum Outcome : int32_t {
    kUnfinished = 0,
    kRefused = -1,
    kReset = -2,
    kUnanswered = -3,
    kCut = -4,
    kTimedOut = -5,
    kNotHttp = -6,
    kNoConnection = -1000,
};

// Moments in seconds since the start of what counts; the vectors run in parallel. NaN: never.
struct Samples {
    std::vector<double> due_s, begun_s, sent_s, ended_s;
    std::vector<int32_t> outcomes;
};

// Where a run is: counts since its start, and the latencies since the last look.
struct Look {
    double elapsed_s;  // below 0 during the warm-up
    int64_t begun, in_flight;
    std::map<int32_t, int64_t> ended;  // by outcome
    std::vector<double> recent_s;
};

// One request at a time on each connection; the one used last is used next.
class Driver {
public:
    explicit Driver(Load load);
    ~Driver();
    Driver(const Driver&) = delete;

    // Sends everything and waits for the outcomes; once. Throws std::system_error.
    void run();
    // End now: what has no outcome yet gets none. From any thread.
    void stop();
    Look look();  // from any thread

    // After run().
    const Samples& samples() const { return samples_; }
    const std::map<int32_t, std::string>& bodies() const { return bodies_; }  // first of an outcome
    double started_at_s() const { return start_; }       // on the clock of time.monotonic()
    double stopped_at_s() const { return stopped_at_; }  // NaN: it ran to its end
    double busy_share() const { return busy_share_; }    // of one core
    int64_t connections() const { return opened_; }
    int64_t waited() const { return waited_; }  // requests for which no connection was free

private:
    static constexpr int64_t kNone = -1;

    struct Connection {
        int file = -1;     // below 0: closed
        size_t place = 0;  // in connections_
        bool is_open = false;
        bool awaits_room = false;  // to write, or to be connected
        bool has_answer = false;   // some of one came
        size_t address = 0;        // that it connects to
        int64_t request = kNone;   // on it
        double rests_since = 0;
        size_t written = 0;
        std::string out;
        Response response;
    };
    struct InFlight {
        Connection* connection = nullptr;
        bool is_done = false;
    };

    double now() const;  // since the start of what counts
    double next_wake() const;
    void wait_until(double moment) const;
    void read_events();
    void follow_clock();
    void send_due();
    void send_next();
    void begin_request(double due, double moment);
    void serve(int64_t request);
    bool serve_waiting(Connection* connection);
    void open_for_waiting();
    bool is_over() const { return !is_sending_ && in_flight_ == 0; }

    Connection* new_connection(int64_t request);
    void connect_next(Connection* connection, int error);
    void connected(Connection* connection);
    void send(Connection* connection, int64_t request);
    void write(Connection* connection);
    void read(Connection* connection);
    void release(Connection* connection);
    void lost(Connection* connection, int error);
    void close(Connection* connection);
    void watch(Connection* connection, bool awaits_room, int operation);
    void fill(std::string& out, int64_t request) const;

    void finish(int64_t request, int32_t outcome, const std::string& body);
    void sweep();
    InFlight& flight(int64_t request) { return flights_[static_cast<size_t>(request - first_)]; }
    bool is_waiting(int64_t request) const;

    const Load load_;
    Samples samples_;
    std::map<int32_t, std::string> bodies_;
    std::map<int32_t, int64_t> counts_;
    std::vector<double> recent_s_;
    std::mutex mutex_;  // of everything but the waiting

    std::vector<std::unique_ptr<Connection>> connections_;  // open ones, and those being opened
    std::vector<std::unique_ptr<Connection>> closed_;  // events of this turn may still name them
    std::vector<Connection*> resting_;                 // the one used last stands last
    std::deque<int64_t> waiting_;                      // requests without a connection
    std::deque<InFlight> flights_;                     // of the requests from first_ on
    std::deque<double> paused_;                        // when clients without an answer go on
    int64_t first_ = 0;
    int64_t in_flight_ = 0;
    int64_t opened_ = 0;
    int64_t waited_ = 0;
    size_t next_due_ = 0;
    double start_;
    double sweep_at_ = 0;
    double stopped_at_;
    double busy_share_ = 0;
    int events_ = -1;
    int wake_ = -1;  // written to by stop()
    bool is_sending_ = true;
    std::atomic<bool> is_stopped_{false};
};

}  // namespace ivme
