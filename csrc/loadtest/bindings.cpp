// The generator of load tests; Python sees it run on a thread of its own, without the GIL.
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <stdexcept>
#include <tuple>

#include "driver.h"

namespace nb = nanobind;

namespace ivme {
namespace {

std::string text_of(const nb::bytes& bytes) { return {bytes.c_str(), bytes.size()}; }

template <typename T>
nb::bytes bytes_of(const std::vector<T>& values) {
    return nb::bytes(values.data(), sizeof(T) * values.size());
}

// Makes the driver in place: it is neither copied nor moved.
void make_driver(Driver* place, std::vector<std::string> addresses, int port, nb::bytes head,
                 const std::vector<nb::bytes>& bodies, nb::bytes mark, nb::bytes end,
                 nb::bytes due_s, int64_t clients, double warm_up_s, double duration_s,
                 double timeout_s, int64_t most_connections) {
    if (bodies.empty() || addresses.empty())
        throw std::invalid_argument("bodies, addresses: expected at least one of each");
    if (most_connections < 1 || clients < 0)
        throw std::invalid_argument("most_connections, clients: expected 1 or more, 0 or more");
    if (due_s.size() % sizeof(double) != 0)
        throw std::invalid_argument("due_s: expected bytes of float64");
    std::vector<double> due(due_s.size() / sizeof(double));
    std::memcpy(due.data(), due_s.data(), due_s.size());
    if (clients > 0 && !due.empty())
        throw std::invalid_argument("clients: expected 0 where moments are given");
    std::vector<std::string> contents;
    contents.reserve(bodies.size());
    for (const nb::bytes& body : bodies) contents.push_back(text_of(body));
    new (place) Driver({std::move(addresses), port, text_of(head), std::move(contents),
                        text_of(mark), text_of(end), std::move(due), clients, warm_up_s, duration_s,
                        timeout_s, most_connections});
}

// Due, begun, sent, ended (float64) and outcomes (int32).
auto columns(const Driver& driver) {
    const Samples& found = driver.samples();
    return std::make_tuple(bytes_of(found.due_s), bytes_of(found.begun_s), bytes_of(found.sent_s),
                           bytes_of(found.ended_s), bytes_of(found.outcomes));
}

auto look(Driver& driver) {
    const Look found = driver.look();
    return std::make_tuple(found.elapsed_s, found.begun, found.in_flight, found.ended,
                           found.recent_s);
}

// Takes a piece of a response; whether it is whole.
bool feed(Response& response, nb::bytes data) {
    const Progress found = response.feed({data.c_str(), data.size()});
    if (found == Progress::kBad) throw std::invalid_argument("this is no HTTP/1.1");
    return found == Progress::kWhole;
}

nb::dict bodies(const Driver& driver) {
    nb::dict found;
    for (const auto& [outcome, body] : driver.bodies())
        found[nb::int_(outcome)] = nb::bytes(body.data(), body.size());
    return found;
}

}  // namespace

NB_MODULE(_driver, module) {
    nb::class_<Response>(module, "Response")
        .def(nb::init<>())
        .def("feed", &feed)
        .def("feed_end", &Response::ends_with_connection)
        .def_prop_ro("status", &Response::status)
        .def_prop_ro("is_last", &Response::is_last)
        .def_prop_ro("body", [](const Response& response) {
            return nb::bytes(response.body().data(), response.body().size());
        });
    nb::class_<Driver>(module, "Driver")
        .def("__init__", &make_driver, nb::kw_only(), nb::arg("addresses"), nb::arg("port"),
             nb::arg("head"), nb::arg("bodies"), nb::arg("mark"), nb::arg("end"), nb::arg("due_s"),
             nb::arg("clients"), nb::arg("warm_up_s"), nb::arg("duration_s"), nb::arg("timeout_s"),
             nb::arg("most_connections"))
        .def("run", &Driver::run, nb::call_guard<nb::gil_scoped_release>())
        .def("stop", &Driver::stop)
        .def("look", &look)
        .def("columns", &columns)
        .def("bodies", &bodies)
        .def_prop_ro("started_at_s", &Driver::started_at_s)
        .def_prop_ro("stopped_at_s", &Driver::stopped_at_s)
        .def_prop_ro("busy_share", &Driver::busy_share)
        .def_prop_ro("connections", &Driver::connections)
        .def_prop_ro("waited", &Driver::waited);
}

}  // namespace ivme
