import { once } from "node:events";
import { connect } from "node:net";
import fc from "fast-check";
import t, { type Test } from "tap";
import { readProxyHeader } from "../../src/http/proxy-protocol.ts";
import { startPlainListener } from "../fixtures/plain-listener.ts";

const signature = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");

/** A header of version 2. */
function binary(command: number, family: number, payload: Buffer): Buffer {
  const head = Buffer.from([command, family, payload.length >> 8, payload.length & 0xff]);
  return Buffer.concat([signature, head, payload]);
}

const tcp4 = (source: readonly number[]) => Buffer.from([...source, 10, 0, 0, 1, 0x12, 0x34, 0x13, 0x88]);
const tcp6 = Buffer.concat([Buffer.from(`20010db8${"0".repeat(23)}9`, "hex"), Buffer.alloc(20)]);

t.test("headers of both versions", async (t) => {
  const tlv = Buffer.from([0x04, 0x00, 0x03, 1, 2, 3]);
  const cases: readonly (readonly [string | Buffer, string | undefined])[] = [
    ["PROXY TCP4 203.0.113.9 10.0.0.1 56324 5000\r\n", "203.0.113.9"],
    ["PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"],
    ["PROXY TCP6 2001:db8::9 ::1 0 5000\r\n", "2001:db8::9"],
    ["PROXY UNKNOWN\r\n", undefined],
    ["PROXY UNKNOWN ffff::1 whatever 1 2\r\n", undefined],
    [binary(0x21, 0x11, tcp4([203, 0, 113, 9])), "203.0.113.9"],
    [binary(0x21, 0x11, Buffer.concat([tcp4([203, 0, 113, 9]), tlv])), "203.0.113.9"],
    [binary(0x21, 0x21, tcp6), "2001:db8:0:0:0:0:0:9"],
    [binary(0x21, 0x00, Buffer.alloc(0)), undefined],
    [binary(0x21, 0x31, Buffer.alloc(216)), undefined],
    [binary(0x20, 0x00, Buffer.alloc(0)), undefined],
    [binary(0x20, 0x11, tcp4([203, 0, 113, 9])), undefined],
  ];
  for (const [text, source] of cases) {
    const header = Buffer.from(text as Buffer);
    const after = Buffer.concat([header, Buffer.from("GET / HTTP/1.1\r\n")]);
    t.strictSame(
      readProxyHeader(after),
      { length: header.length, source },
      JSON.stringify(header.toString("latin1")),
    );
    for (let length = 0; length < header.length; length++)
      t.equal(readProxyHeader(header.subarray(0, length)), "more");
  }
});

t.test("what is no header, or breaks the grammar, is for the HTTP parser", async (t) => {
  const lines = [
    "GET /v2/ HTTP/1.1\r\n",
    "PRI * HTTP/2.0\r\n\r\n",
    "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
    "PROXY\r\nx",
    "PROXY TCP4\r\n",
    "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
    "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
    "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
    "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
    "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
    "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
    "PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n",
    "PROXY TCP4 ::1 ::1 1 2\r\n",
    "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
    "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
    "PROXY UNKNOWNX\r\n",
    "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
    `PROXY UNKNOWN ${"x".repeat(92)}\r\n`,
    "PROXY ".padEnd(107, "x"),
  ];
  for (const line of lines) t.equal(readProxyHeader(Buffer.from(`${line}`.padEnd(120, "."))), "none", line);
  for (const [command, family, payload] of [
    [0x11, 0x11, 12],
    [0x22, 0x11, 12],
    [0x21, 0x12, 12],
    [0x21, 0x13, 12],
    [0x21, 0x11, 11],
    [0x21, 0x21, 35],
    [0x21, 0x31, 215],
    [0x21, 0x11, 4097],
    [0x21, 0xff, 0],
  ] as const)
    t.equal(readProxyHeader(binary(command, family, Buffer.alloc(payload))), "none", `${command} ${family}`);
});

t.test(
  "whatever the bytes, a header is within its bounds, and more of them never take one back",
  async () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 60 }),
      fc.string({ maxLength: 120 }).map((text) => Buffer.from(`PROXY ${text}\r\n`)),
      fc
        .tuple(
          fc.constantFrom(0x20, 0x21, 0x22),
          fc.constantFrom(0, 0x11, 0x21, 0x31),
          fc.uint8Array({ maxLength: 240 }),
        )
        .map(([command, family, payload]) => binary(command, family, Buffer.from(payload))),
    );
    fc.assert(
      fc.property(bytes, fc.uint8Array({ maxLength: 20 }), (some, more) => {
        const first = readProxyHeader(Buffer.from(some));
        if (first === "more") return some.length < 16 + 4096;
        const again = readProxyHeader(Buffer.concat([some, more]));
        if (first === "none") return again === "none";
        return first.length <= some.length && typeof again === "object" && again.length === first.length;
      }),
      { numRuns: 2_000 },
    );
  },
);

t.test("every connection written in either version reads back as its client's address", async () => {
  const ipv6 = fc.array(fc.nat(0xffff), { minLength: 8, maxLength: 8 });
  const ports = fc.tuple(fc.nat(65_535), fc.nat(65_535));
  fc.assert(
    fc.property(
      fc.ipV4(),
      fc.ipV4(),
      ipv6,
      ports,
      fc.uint8Array({ maxLength: 50 }),
      (from, to, groups, [a, b], rest) => {
        const long = groups.map((group) => group.toString(16)).join(":");
        const portBytes = Buffer.from([a >> 8, a & 0xff, b >> 8, b & 0xff]);
        const four = Buffer.concat([
          Buffer.from([...from.split("."), ...to.split(".")].map(Number)),
          portBytes,
        ]);
        const sixteen = Buffer.from(groups.flatMap((group) => [group >> 8, group & 0xff]));
        const written: readonly (readonly [Buffer, string])[] = [
          [Buffer.from(`PROXY TCP4 ${from} ${to} ${a} ${b}\r\n`), from],
          [Buffer.from(`PROXY TCP6 ${long} ::1 ${a} ${b}\r\n`), long],
          [binary(0x21, 0x11, four), from],
          [binary(0x21, 0x21, Buffer.concat([sixteen, sixteen, portBytes])), long],
        ];
        return written.every(([header, source]) => {
          const read = readProxyHeader(Buffer.concat([header, rest]));
          return typeof read === "object" && read.length === header.length && read.source === source;
        });
      },
    ),
    { numRuns: 500 },
  );
});

const body = Buffer.from('{"schemaVersion":2}');
const request = "GET /v2/team/app/manifests/1 HTTP/1.1\r\nHost: mirror\r\nX-Forwarded-For: 198.51.100.66\r\n";

/** What the connection brings back, when these pieces are written each in a packet of its own. */
async function exchange(url: URL, pieces: readonly (string | Buffer)[]): Promise<string> {
  const socket = connect({ host: url.hostname, port: Number(url.port), noDelay: true });
  const chunks: Buffer[] = [];
  socket.on("data", (chunk) => chunks.push(chunk)).on("error", () => {});
  const closed = once(socket, "close");
  await once(socket, "connect");
  for (const piece of pieces) {
    await new Promise((resolve) => socket.write(piece, resolve));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await closed;
  return Buffer.concat(chunks).toString("latin1");
}

function trusting(t: Test, trustedProxies: readonly string[]) {
  return startPlainListener(t, body, { trustedProxies });
}

t.test("a trusted proxy says whose the connection is, for all of its requests", async (t) => {
  const { url, ended } = await trusting(t, ["127.0.0.1"]);
  const two = `${request}\r\n${request}Connection: close\r\n\r\n`;
  const header = "PROXY TCP4 203.0.113.9 10.0.0.1 56324 5000\r\n";
  for (const pieces of [
    [header + two],
    [...header].concat(two),
    [header, two],
    [Buffer.concat([binary(0x21, 0x11, tcp4([203, 0, 113, 9])), Buffer.from(two)])],
  ])
    t.equal((await exchange(url, pieces)).split("HTTP/1.1 200 OK").length, 3);
  const events = await ended(8);
  t.strictSame(
    events.map(({ client }) => client),
    new Array(8).fill("203.0.113.9"),
    "which is no trusted proxy, so that its X-Forwarded-For is nothing",
  );
});

t.test("a proxy that asks for itself, one without the header, and one behind another", async (t) => {
  const { url, ended } = await trusting(t, ["127.0.0.1", "10.0.0.0/8"]);
  const one = `${request}Connection: close\r\n\r\n`;
  for (const header of [
    binary(0x20, 0, Buffer.alloc(0)),
    "PROXY UNKNOWN\r\n",
    "",
    "PROXY TCP4 10.1.1.1 10.0.0.1 1 2\r\n",
  ])
    t.match(await exchange(url, [header, one]), /^HTTP\/1\.1 200 OK/);
  t.strictSame(
    (await ended(4)).map(({ client }) => client),
    new Array(4).fill("198.51.100.66"),
  );
});

t.test("nobody else is believed: the header is a bad request", async (t) => {
  const { url } = await trusting(t, ["10.0.0.0/8"]);
  const one = `${request}Connection: close\r\n\r\n`;
  const header = "PROXY TCP4 203.0.113.9 10.0.0.1 56324 5000\r\n";
  t.match(await exchange(url, [header + one]), /^HTTP\/1\.1 400 /);
  t.match(await exchange(url, [binary(0x21, 0x11, tcp4([203, 0, 113, 9])), one]), /^HTTP\/1\.1 400 /);
  const trusted = await trusting(t, ["127.0.0.1"]);
  t.match(await exchange(trusted.url, [`PROXY TCP4 x\r\n${one}`]), /^HTTP\/1\.1 400 /);
  t.match(await exchange(trusted.url, [header + header + one]), /^HTTP\/1\.1 400 /, "one header, not two");
});

t.test("a header that does not come ends with the connection, and holds nothing up", async (t) => {
  const { listener, url } = await startPlainListener(t, body, {
    trustedProxies: ["127.0.0.1"],
    timeouts: { headers: 50 },
  });
  t.equal(await exchange(url, ["PROXY TCP4 "]), "");
  const socket = connect(Number(url.port), url.hostname);
  socket.on("error", () => {});
  const closed = once(socket, "close");
  await once(socket, "connect");
  await listener.drain();
  await closed;
});
