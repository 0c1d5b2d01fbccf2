"""A long link between two network namespaces: so many Mbit/s, so many milliseconds one way, and some loss.

Linux can do this alone (tc netem), but not every kernel is built with it, and few containers may load it. So the two
ends are TUN devices, and this program is the cable between them: what one end sends it reads, queues as a router does,
holds back for the time a packet is on its way, and hands to the other end.

  link.py NEAR-NAMESPACE NEAR-ADDRESS FAR-NAMESPACE FAR-ADDRESS [--mbit N] [--delay-ms N] [--loss-percent N]
          [--queue-kib N] [--seed N]

The addresses must already be there (on `lo`, say); each end gets the route to the other's. The link is there from the
line `ready` until SIGTERM, which it answers with one line of JSON: how many packets each direction was given, how many it
lost, how many found the queue full, and how many bytes of what TCP carries it delivered. Which packets of a direction are lost depends on the seed alone: the same ones, by number, in
every run. Root only. Needs no more of Python than Debian's python3-minimal.
"""

import argparse
import collections
import fcntl
import os
import random
import select
import signal
import struct
import subprocess
import time

# linux/if_tun.h: the request that names a TUN device, and its flags for whole IP packets without a header before each.
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000

IPPROTO_TCP = 6
MTU = 1500
# Seconds between two looks at both ends while packets are under way: a packet may be that much late. A look at every
# packet would be three times the work, on cores the measured programs need.
TICK = 0.001
# Packets taken from one end at one look: far more than 1 Gbit/s brings in a tick.
BATCH = 512


class End:
    """A TUN device in a namespace. It goes when the program does."""

    def __init__(self, side, namespace, address, other_address):
        # Of this process alone: it must be free where it is made and where it goes. At most 15 characters (IFNAMSIZ).
        device = f"{side}{os.getpid()}"
        self.file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.file, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
        ip("link", "set", device, "netns", namespace)
        # A queue before the device that no window of TCP overflows: packets are to be dropped here, and counted.
        ip("-n", namespace, "link", "set", device, "mtu", str(MTU), "txqueuelen", "10000", "up")
        ip("-n", namespace, "route", "add", f"{other_address}/32", "dev", device, "src", address)

    def read(self):
        """The next packet the end sends; None when there is none."""
        try:
            return os.read(self.file, MTU)
        except BlockingIOError:
            return None

    def write(self, packet):
        try:
            os.write(self.file, packet)
        except OSError:
            pass  # The end is down or has no room: lost, as on any link.


class Direction:
    """One way of the link: a queue, a line that sends one packet after the other, and the way the packets have."""

    def __init__(self, source, target, shape, seed):
        self.source, self.target = source, target
        self.bytes_per_second = shape.mbit * 1e6 / 8
        self.delay = shape.delay_ms / 1e3
        self.loss = shape.loss_percent / 100
        self.longest_wait = shape.queue_kib * 1024 / self.bytes_per_second
        self.chance = random.Random(seed)
        self.line_free_at = 0.0
        self.under_way = collections.deque()  # (when it arrives, packet), in order
        self.packets = self.lost = self.overflowed = self.payload = 0

    def take(self, now):
        """Takes what the source has sent since the last look."""
        for _ in range(BATCH):
            packet = self.source.read()
            if packet is None:
                return
            self.packets += 1
            if self.chance.random() < self.loss:
                self.lost += 1
                continue
            starts = max(now, self.line_free_at)
            if starts - now > self.longest_wait:
                self.overflowed += 1
                continue
            self.line_free_at = starts + len(packet) / self.bytes_per_second
            self.under_way.append((self.line_free_at + self.delay, packet))

    def deliver(self, now):
        """Hands over what has arrived by now."""
        while self.under_way and self.under_way[0][0] <= now:
            packet = self.under_way.popleft()[1]
            self.payload += payload_length(packet)
            self.target.write(packet)

    def report(self):
        counts = ("packets", "lost", "overflowed", "payload")
        return "{" + ", ".join(f'"{name}": {getattr(self, name)}' for name in counts) + "}"


def payload_length(packet):
    """Bytes of data in a TCP segment over IPv4 (RFC 791, RFC 9293); 0 of anything else."""
    header = (packet[0] & 0x0F) * 4
    if packet[0] >> 4 != 4 or packet[9] != IPPROTO_TCP:
        return 0
    return len(packet) - header - (packet[header + 12] >> 4) * 4


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


def arguments():
    parser = argparse.ArgumentParser(description="Joins two network namespaces by a long, slow, lossy link.")
    for name in ("near_namespace", "near_address", "far_namespace", "far_address"):
        parser.add_argument(name)
    parser.add_argument("--mbit", type=float, default=100, help="speed of each direction")
    parser.add_argument("--delay-ms", type=float, default=20, help="one way; a round trip takes it twice")
    parser.add_argument("--loss-percent", type=float, default=0, help="of the packets of each direction")
    parser.add_argument("--queue-kib", type=float, default=1024, help="before each direction; what finds it full is lost")
    parser.add_argument("--seed", type=int, default=1, help="chooses which packets are lost")
    return parser.parse_args()


def carry(directions, ends):
    """Carries packets for ever: by the tick while some are under way, else whenever one is sent."""
    waiting = select.poll()
    for end in ends:
        waiting.register(end.file, select.POLLIN)
    while True:
        if any(direction.under_way for direction in directions):
            time.sleep(TICK)
        else:
            waiting.poll()
        now = time.monotonic()
        for direction in directions:
            direction.take(now)
            direction.deliver(now)


def stop(_signal, _frame):
    raise SystemExit


def main():
    shape = arguments()
    near = End("near", shape.near_namespace, shape.near_address, shape.far_address)
    far = End("far", shape.far_namespace, shape.far_address, shape.near_address)
    # Seeds apart, so that the two directions do not lose the same numbers.
    up, down = Direction(near, far, shape, 2 * shape.seed), Direction(far, near, shape, 2 * shape.seed + 1)
    signal.signal(signal.SIGTERM, stop)
    print("ready", flush=True)
    try:
        carry((up, down), (near, far))
    finally:
        print(f'{{"up": {up.report()}, "down": {down.report()}}}', flush=True)


if __name__ == "__main__":
    main()
