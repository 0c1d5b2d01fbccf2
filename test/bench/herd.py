"""A herd: many clients that pull the same image at the same time, each layer on a connection of its own, as docker does.

usage: herd.py CLIENTS IDLE MANIFEST LAYER,LAYER... HOST:PORT...

The clients are dealt to the nodes in turn. IDLE more connections are opened to the nodes before and do nothing. What comes is thrown
away in the kernel (discard.py). Prints one line of JSON: for each client that got everything the seconds its pull took, in ascending
order, the bytes of all, the pulls that failed, and the idle connections that were still open at the end.
"""

import json
import resource
import select
import socket
import sys
import threading
import time

from discard import download


def main(count, idle_count, manifest, layers, nodes):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    threading.stack_size(256 * 1024)
    addresses = [node.rsplit(":", 1) for node in nodes]

    def connect(number):
        host, port = addresses[number % len(addresses)]
        return socket.create_connection((host, int(port)), timeout=120)

    def idling(number):
        # Asked once, as clients do: a connection on which nothing was ever asked is closed after ten seconds.
        sock = connect(number)
        download(sock, nodes[number % len(nodes)], "/v2/")
        return sock

    idle = [idling(number) for number in range(idle_count)]
    lock = threading.Lock()
    seconds = []
    result = {"bytes": 0, "failed": 0}
    # All begin together, when every one of them is there.
    start = threading.Barrier(count)

    def fetch(number, path, lengths):
        with connect(number) as sock:
            # Until the answer is complete, not until a byte comes.
            sock.settimeout(None)
            lengths.append(download(sock, nodes[number % len(nodes)], path))

    def client(number):
        start.wait()
        began = time.monotonic()
        lengths = []
        try:
            fetch(number, manifest, lengths)
            pulls = [threading.Thread(target=attempt, args=(number, layer, lengths)) for layer in layers]
            for pull in pulls:
                pull.start()
            for pull in pulls:
                pull.join()
        except OSError:
            pass
        took = time.monotonic() - began
        with lock:
            if len(lengths) == 1 + len(layers):
                seconds.append(took)
                result["bytes"] += sum(lengths)
            else:
                result["failed"] += 1

    def attempt(number, path, lengths):
        try:
            fetch(number, path, lengths)
        except OSError:
            pass

    threads = [threading.Thread(target=client, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    poll = select.poll()
    for sock in idle:
        poll.register(sock, select.POLLIN)
    # One that can be read was closed: nothing was asked on it.
    print(json.dumps({**result, "seconds": sorted(seconds), "idle": len(idle) - len(poll.poll(0))}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4].split(","), sys.argv[5:])
