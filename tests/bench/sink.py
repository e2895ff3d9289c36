"""An origin server that keeps nothing and names everything: reads a request, finds the SOPInstanceUIDs, says all are stored.

Run as a process of its own, so that what is measured is the sender. Prints its port.
"""

from __future__ import annotations

import json
import re
import socket
import threading

_INSTANCE = re.compile(rb"\x08\x00\x18\x00UI(..)", re.DOTALL)


def answer(body: bytes) -> bytes:
    items = []
    for match in _INSTANCE.finditer(body):
        length = int.from_bytes(match[1], "little")
        uid = body[match.end() : match.end() + length].rstrip(b"\0").decode()
        items.append({"00081155": {"vr": "UI", "Value": [uid]}})
    return json.dumps({"00081199": {"vr": "SQ", "Value": items}}).encode()


def serve(connection: socket.socket) -> None:
    stream = connection.makefile("rb", buffering=1 << 20)
    while line := stream.readline():
        length = 0
        while (header := stream.readline()) not in (b"\r\n", b""):
            if header.lower().startswith(b"content-length:"):
                length = int(header.partition(b":")[2])
        body = answer(stream.read(length)) if line.startswith(b"POST") else b"[]"
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
