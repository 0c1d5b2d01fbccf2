"""Downloads that are thrown away in the kernel, so that the client costs next to nothing.

usage: discard.py HOST PORT CONNECTIONS SECONDS PATH...

Each connection asks for the paths in turn, over and over, until the seconds have passed; with 0 seconds each path is asked for
once, by whichever connection is free. MSG_TRUNC on a TCP socket drops what has come instead of copying it (tcp(7)); with
MSG_WAITALL the kernel does so for many megabytes before Python runs again. Prints one line of JSON: bytes of whole bodies, their number, answers that failed, and the seconds it took.
"""

import json
import mmap
import socket
import sys
import threading
import time

# What is asked of the kernel at once. Nothing is ever copied into it, so that all downloads have the same, and it takes no memory.
NOWHERE = mmap.mmap(-1, 16 * 1024 * 1024)


def download(sock, host, path):
    """Bytes of the body; raises OSError on anything but a complete 200."""
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/vnd.oci.image.manifest.v1+json, */*\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        part = sock.recv(4096)
        if not part:
            raise OSError("closed in the head")
        head += part
    head, _, body = head.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    if lines[0].split(" ")[1] != "200":
        raise OSError(lines[0])
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    length = int(fields["content-length"])
    left = length - len(body)
    while left > 0:
        count = sock.recv_into(NOWHERE, min(left, len(NOWHERE)), socket.MSG_TRUNC | socket.MSG_WAITALL)
        if count == 0:
            raise OSError("closed in the body")
        left -= count
    return length


def main(host, port, connections, seconds, paths):
    lock = threading.Lock()
    counts = {"bytes": 0, "bodies": 0, "failed": 0}
    began = time.monotonic()
    deadline = began + seconds
    asked = 0

    def next_path():
        nonlocal asked
        with lock:
            at = asked
            asked += 1
        if seconds == 0 and at >= len(paths):
            return None
        return None if seconds > 0 and time.monotonic() >= deadline else paths[at % len(paths)]

    def client():
        sock = None
        while (path := next_path()) is not None:
            try:
                sock = sock or socket.create_connection((host, port))
                length = download(sock, f"{host}:{port}", path)
                with lock:
                    counts["bytes"] += length
                    counts["bodies"] += 1
            except OSError:
                with lock:
                    counts["failed"] += 1
                if sock is not None:
                    sock.close()
                sock = None

    threads = [threading.Thread(target=client) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({**counts, "seconds": time.monotonic() - began}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5:])
