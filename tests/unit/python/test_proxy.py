"""The proxy that cuts an agent off: it loses no byte and holds all of them."""

import os
import select
import socket
import sys
import threading
import unittest

from recorder_file import ROOT

sys.path.insert(0, os.path.join(ROOT, "deploy", "quickstart"))

from quickstart.proxy import Proxy  # noqa: E402


class EchoServer:
    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(
                target=self._echo, args=(connection,), daemon=True
            ).start()

    def _echo(self, connection):
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)


def receive(connection, size):
    data = b""
    while len(data) < size:
        part = connection.recv(65536)
        if not part:
            break
        data += part
    return data


class ProxyTest(unittest.TestCase):
    def setUp(self):
        self.server = EchoServer()
        self.addCleanup(self.server.listener.close)
        self.proxy = Proxy(self.server.port)
        self.addCleanup(self.proxy.stop)

    def connect(self):
        connection = socket.create_connection(
            ("127.0.0.1", self.proxy.port), timeout=20
        )
        self.addCleanup(connection.close)
        return connection

    def test_bytes_go_both_ways_unchanged(self):
        data = os.urandom(3 << 20)
        connection = self.connect()
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()

        self.assertEqual(receive(connection, len(data)), data)
        sender.join()

    def test_a_cut_holds_bytes_and_a_heal_delivers_them(self):
        connection = self.connect()
        connection.sendall(b"before")
        self.assertEqual(receive(connection, 6), b"before")

        self.proxy.cut()
        # The thread may be in its last round before the cut: wait it out.
        while self.proxy._wake_read in self._unread():
            pass
        connection.sendall(b"during")
        connection.settimeout(0.2)
        with self.assertRaises(TimeoutError):
            connection.recv(10)
        connection.settimeout(20)
        self.proxy.heal()

        self.assertEqual(receive(connection, 6), b"during")

    def _unread(self):
        return select.select([self.proxy._wake_read], [], [], 0)[0]

    def test_a_closed_server_looks_closed(self):
        connection = self.connect()
        connection.sendall(b"x")
        self.assertEqual(receive(connection, 1), b"x")
        self.server.listener.close()
        connection.shutdown(socket.SHUT_WR)

        self.assertEqual(connection.recv(10), b"")


if __name__ == "__main__":
    unittest.main()
