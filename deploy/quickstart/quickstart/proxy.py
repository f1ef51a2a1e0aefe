"""A TCP proxy for each agent, so that its network can be cut.

While cut, nothing is forwarded and nothing is closed, as with a pulled cable;
connections made meanwhile wait. When healed, bytes flow again.
"""

import selectors
import socket
import threading

_CHUNK = 1 << 16
_MAX_PENDING = 1 << 20  # Bytes waiting in one direction: then we read no more.


class _Flow:
    """One direction of one connection."""

    def __init__(self, source, sink):
        self.source = source
        self.sink = sink
        self.pending = b""
        self.is_ended = False


class Proxy:
    """Forwards 127.0.0.1:port to the target, on a thread of its own."""

    def __init__(self, target_port):
        self.target = ("127.0.0.1", target_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._flows = {}  # Socket read from -> _Flow.
        self._is_cut = False
        self._is_stopped = False
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._thread = threading.Thread(
            target=self._serve, name="proxy-%d" % self.port, daemon=True
        )
        self._thread.start()

    def cut(self):
        self._is_cut = True
        self._wake_write.send(b"x")

    def heal(self):
        self._is_cut = False
        self._wake_write.send(b"x")

    def stop(self):
        self._is_stopped = True
        self._wake_write.send(b"x")
        self._thread.join()
        for source in list(self._flows):
            source.close()
        self._listener.close()
        self._wake_read.close()
        self._wake_write.close()

    def _serve(self):
        while not self._is_stopped:
            with selectors.DefaultSelector() as selector:
                self._register(selector)
                for key, events in selector.select():
                    self._react(key.fileobj, events)

    def _register(self, selector):
        selector.register(self._wake_read, selectors.EVENT_READ)
        if self._is_cut:
            return
        selector.register(self._listener, selectors.EVENT_READ)
        wanted = {}
        for source, flow in self._flows.items():
            if not flow.is_ended and len(flow.pending) < _MAX_PENDING:
                wanted[source] = (
                    wanted.get(source, 0) | selectors.EVENT_READ
                )
            if flow.pending:
                wanted[flow.sink] = (
                    wanted.get(flow.sink, 0) | selectors.EVENT_WRITE
                )
        for end, events in wanted.items():
            selector.register(end, events)

    def _react(self, end, events):
        if end is self._wake_read:
            self._wake_read.recv(_CHUNK)
        elif end is self._listener:
            self._accept()
        elif end in self._flows:
            flow = self._flows[end]
            try:
                if events & selectors.EVENT_WRITE:
                    self._write(self._flows[flow.sink])
                if events & selectors.EVENT_READ:
                    self._read(flow)
            except BlockingIOError:
                pass
            except OSError:
                self._close(flow)

    def _accept(self):
        try:
            near, _ = self._listener.accept()
        except OSError:
            return
        try:
            far = socket.create_connection(self.target, timeout=1)
        except OSError:
            near.close()  # The server is down: so it looks to the agent.
            return
        for end in (near, far):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._flows[near] = _Flow(near, far)
        self._flows[far] = _Flow(far, near)

    def _read(self, flow):
        data = flow.source.recv(_CHUNK)
        if data:
            flow.pending += data
            self._write(flow)
            return
        flow.is_ended = True
        if not flow.pending:
            self._close(flow)

    def _write(self, flow):
        """Sends what waits in this direction."""
        if flow.pending:
            sent = flow.sink.send(flow.pending)
            flow.pending = flow.pending[sent:]
        if flow.is_ended and not flow.pending:
            self._close(flow)

    def _close(self, flow):
        for end in (flow.source, flow.sink):
            self._flows.pop(end, None)
            end.close()
