"""A server in a process of its own, which answers, stalls or misbehaves as its arguments say.

Prints its port first, then the begin and end of every stall on the clock of time.monotonic().
"""

import asyncio
import sys
import time

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
LAST = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}"
BUSY = b'HTTP/1.1 429 Busy\r\nRetry-After: 1\r\nContent-Length: 17\r\n\r\n{"error": "full"}'
CONFLICT = b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


BODIES: set[bytes] = set()  # that came before


class Server(asyncio.Protocol):
    served = 0
    mode, numbers = sys.argv[1], [float(one) for one in sys.argv[2:]]

    def connection_made(self, transport):
        self.transport, self.came = transport, b""

    def data_received(self, data):
        self.came += data
        head, end, body = self.came.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
        if end and len(body) == length:
            self.came, self.body = b"", body
            Server.served += 1
            getattr(self, self.mode)()

    def plain(self):
        self.transport.write(ANSWER)

    def stalling(self):
        """Answer at once, but do nothing for numbers[0] seconds every numbers[1] seconds."""
        self.transport.write(ANSWER)
        if Server.served == 1:
            loop = asyncio.get_running_loop()
            self.stall_at(loop, loop.time() + self.numbers[1] - self.numbers[0])

    def stall_at(self, loop, moment):
        def stall():
            begin = time.monotonic()
            time.sleep(moment + self.numbers[0] - begin)
            print(begin, time.monotonic(), flush=True)
            self.stall_at(loop, moment + self.numbers[1])

        loop.call_at(moment, stall)

    def slow(self):
        """Answer after numbers[0] seconds."""
        asyncio.get_running_loop().call_later(self.numbers[0], self.transport.write, ANSWER)

    def refusing(self):
        """Refuse every other request."""
        self.transport.write(BUSY if Server.served % 2 else ANSWER)

    def remembering(self):
        """Refuse what came before."""
        self.transport.write(CONFLICT if self.body in BODIES else ANSWER)
        BODIES.add(self.body)

    def chunked(self):
        self.transport.write(CHUNKED[:30])
        self.transport.write(CHUNKED[30:])

    def echo(self):
        """Answer with as much as came."""
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.body)
        self.transport.write(head + self.body)

    def closing(self):
        self.transport.write(LAST)
        self.transport.close()

    def not_found(self):
        self.transport.write(NOT_FOUND)

    def silent(self):
        """Answer nothing but the first."""
        if Server.served == 1:
            self.transport.write(ANSWER)

    def hanging_up(self):
        """Close every other connection in place of an answer."""
        self.transport.write(ANSWER) if Server.served % 2 else self.transport.close()

    def garbage(self):
        """Speak no HTTP after the first answer."""
        self.transport.write(ANSWER if Server.served == 1 else b"220 mail.example ESMTP\r\n")


async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
