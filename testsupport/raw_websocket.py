"""A WebSocket client on a bare socket, for things that a well-behaved client never does."""

import base64
import os
import socket
import struct
from collections.abc import Iterator
from typing import Self

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
PATIENCE_S = 10.0


class RawClient:
    """Completes the handshake, and then reads and writes only when told to."""

    def __init__(self, port: int, token: str, path: str = "/ws/orders", receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(("127.0.0.1", port))
        self.port: int = self.socket.getsockname()[1]
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1",
            "Host: localhost",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
            f"Authorization: Token {token}",
        ]
        self.socket.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
        self._file = self.socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        while self._file.readline().strip():
            pass

    def send(self, opcode: int, payload: bytes, *, is_last: bool = True) -> None:
        """Send one masked frame, as clients do (RFC 6455, section 5.2)."""
        size = len(payload)
        length = (
            bytes([0x80 | size])
            if size < 126
            else b"\xfe" + struct.pack("!H", size)
            if size < 65536
            else b"\xff" + struct.pack("!Q", size)
        )
        mask = os.urandom(4)
        masked = (int.from_bytes(payload) ^ int.from_bytes((mask * (size // 4 + 1))[:size])).to_bytes(size)
        self.socket.sendall(bytes([0x80 * is_last | opcode]) + length + mask + masked)

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Yield every frame until the connection ends, except one that is cut off."""
        while len(head := self._file.read(2)) == 2:
            size = head[1] & 0x7F
            if size == 126:
                [size] = struct.unpack("!H", self._file.read(2))
            elif size == 127:
                [size] = struct.unpack("!Q", self._file.read(8))
            payload = self._file.read(size)
            if len(payload) == size:
                yield head[0] & 0x0F, payload

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()


def close_frame(payload: bytes) -> tuple[int, str]:
    """The code and the reason of a close frame."""
    return struct.unpack("!H", payload[:2])[0], payload[2:].decode()
