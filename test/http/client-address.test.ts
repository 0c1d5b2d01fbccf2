import { once } from "node:events";
import { connect, isIP } from "node:net";
import fc from "fast-check";
import t from "tap";
import { ClientAddresses } from "../../src/http/client-address.ts";
import { unixPeer } from "../../src/ports/networks.ts";
import { makeImage } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";
import { SeededRandom } from "../fixtures/seeded-random.ts";

type Headers = Readonly<Record<string, string>>;

function addresses(...trustedProxies: readonly string[]) {
  const clients = new ClientAddresses({ trustedProxies });
  return (remoteAddress: string | undefined, headers: Headers = {}): string =>
    clients.of({ socket: { remoteAddress }, headers }).address;
}

const forged = "198.51.100.66";
const client = "203.0.113.9";

t.test("nobody is believed unless trusted", async (t) => {
  const headers = { "x-forwarded-for": forged, forwarded: `for=${forged}` };
  t.equal(addresses()(client, headers), client);
  t.equal(addresses("10.0.0.0/8")(client, headers), client);
  t.equal(addresses()("::ffff:203.0.113.9"), client, "IPv4-mapped is IPv4");
  t.equal(addresses()(undefined, headers), "", "gone before it was asked");
  t.equal(addresses("10.0.0.0/8")("10.0.0.1"), "10.0.0.1", "a proxy that asks for itself");
});

t.test("the right-most hop that is no trusted proxy is the client", async (t) => {
  const of = addresses("10.0.0.0/8", "2001:db8:1::/48", "192.0.2.1", "::ffff:172.16.0.0/108");
  for (const [list, wanted] of [
    [client, client],
    [`${forged}, ${client}`, client],
    [`${forged},${client} ,10.1.1.1,  10.2.2.2`, client],
    [`${forged}, ${client}, 192.0.2.1, 2001:db8:1::9`, client],
    [`${client}:4711`, client],
    [`${client}, 172.16.3.4`, client],
    ["[2001:db8:2::9]:4711", "2001:db8:2::9"],
    ["2001:db8:2::9", "2001:db8:2::9"],
    ["::ffff:203.0.113.9", client],
    ["::ffff:cb00:7109", client],
    ["10.0.0.7, 10.0.0.8", "10.0.0.7"],
    [`${client}, unknown`, "10.0.0.1"],
    [`${client}, unknown, 10.3.3.3`, "10.3.3.3"],
    [`${client},`, "10.0.0.1"],
    [`${client}, 10.0.0.300`, "10.0.0.1"],
    ["", "10.0.0.1"],
    [`${`${forged}, `.repeat(2000)}${client}`, client],
    [`x${", 10.0.0.2".repeat(2000)}`, "10.0.0.2"],
  ] as const) {
    for (const _ of [1, 2]) t.equal(of("10.0.0.1", { "x-forwarded-for": list }), wanted, list.slice(0, 60));
  }
  t.equal(of("::ffff:10.0.0.1", { "x-forwarded-for": client }), client, "a proxy seen as IPv4-mapped");
  t.equal(of("2001:DB8:1::1", { "x-forwarded-for": client }), client);
  t.equal(of("192.0.2.2", { "x-forwarded-for": client }), "192.0.2.2");
});

t.test("Forwarded, as RFC 7239 writes it", async (t) => {
  const of = addresses("10.0.0.0/8");
  for (const [forwarded, wanted] of [
    [`for=${client}`, client],
    [`For="${client}:4711";proto=http; by=10.0.0.1`, client],
    ['for="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"],
    [`for=${forged}, for=${client}, for=10.0.0.2;host="a\\"b"`, client],
    [`proto=https;for="${client}"`, client],
    [`for=${client}, for=unknown`, "10.0.0.1"],
    [`for=${client}, for=_hidden, for=10.0.0.5`, "10.0.0.5"],
    ["for=2001:db8:cafe::17", "10.0.0.1"],
    ['for="2001:db8:cafe::17"', "10.0.0.1"],
    [`for=${client};for=${forged}`, "10.0.0.1"],
    [`for=${client};host="evil,for=${forged};a="`, "10.0.0.1"],
    [`for=${client};host="evil,for=${forged}"`, "10.0.0.1"],
    [`for="${forged}, for=${client}`, client],
    [client, "10.0.0.1"],
    ["proto=https", "10.0.0.1"],
  ] as const)
    t.equal(of("10.0.0.1", { forwarded }), wanted, forwarded);
});

/** Who is behind the connection from 10.0.0.1: hops from the right, while the one that wrote the next is trusted. */
function clientOf(hops: readonly (string | undefined)[]): string {
  let believed = "10.0.0.1";
  for (const hop of hops.toReversed()) {
    if (!believed.startsWith("10.") || hop === undefined) break;
    believed = hop;
  }
  return believed;
}

t.test("chains of proxies in both headers, against the rule told in four lines", async () => {
  const of = addresses("10.0.0.0/8");
  const hop = fc.oneof(
    fc.ipV4(),
    fc.nat(255).map((last) => `10.1.2.${last}`),
    fc.constant("2001:db8::9"),
    fc.constant(undefined),
  );
  const port = fc.option(fc.nat(65_535), { nil: undefined });
  fc.assert(
    fc.property(
      fc.array(fc.tuple(hop, port), { minLength: 1, maxLength: 6 }),
      fc.boolean(),
      (chain, quoted) => {
        const written = chain.map(([address, port]) => {
          const ending = port === undefined || address === undefined ? "" : `:${port}`;
          const isLong = address?.includes(":") === true;
          const listed =
            isLong && ending !== "" ? `[${address}]${ending}` : `${address ?? "unknown"}${ending}`;
          const bare = isLong ? `[${address}]${ending}` : `${address ?? "_hidden"}${ending}`;
          const forwarded =
            quoted || isLong || ending !== "" ? `for="${bare}";proto=https` : `by=10.9.9.9;for=${bare}`;
          return { listed, forwarded };
        });
        const wanted = clientOf(chain.map(([address]) => address));
        const list = written.map(({ listed }) => listed).join(", ");
        const forwarded = written.map((each) => each.forwarded).join(", ");
        return (
          of("10.0.0.1", { "x-forwarded-for": list }) === wanted &&
          of("10.0.0.1", { forwarded }) === wanted &&
          of("10.0.0.1", { forwarded, "x-forwarded-for": list }) === wanted &&
          of("192.0.2.1", { forwarded, "x-forwarded-for": list }) === "192.0.2.1"
        );
      },
    ),
    { numRuns: 1_000 },
  );
});

t.test(
  "whatever the headers, what comes out is an address that stood in them, or that of the connection",
  async () => {
    const of = addresses("10.0.0.0/8");
    const noise = fc.string({ unit: fc.constantFrom(...'for=";,:[]_.0129 \\abF\t'), maxLength: 40 });
    fc.assert(
      fc.property(noise, noise, (list, forwarded) => {
        const address = of("10.0.0.1", { "x-forwarded-for": list, forwarded: `for=${forwarded}` });
        return address === "10.0.0.1" || (isIP(address) !== 0 && list.toLowerCase().includes(address));
      }),
      { numRuns: 2_000 },
    );
  },
);

t.test("of two headers that disagree one is the client's own, and neither is believed", async (t) => {
  const of = addresses("10.0.0.0/8");
  t.equal(of("10.0.0.1", { forwarded: `for=${client}`, "x-forwarded-for": client }), client);
  t.equal(of("10.0.0.1", { forwarded: `for=${forged}`, "x-forwarded-for": client }), "10.0.0.1");
  t.equal(of("10.0.0.1", { forwarded: `for=${client}`, "x-forwarded-for": forged }), "10.0.0.1");
});

t.test("limits count IPv6 by /64, IPv4 by address, and not who is exempt", async (t) => {
  const clients = new ClientAddresses({ exempt: ["192.0.2.0/24", "2001:db8:ffff::/48"] });
  const of = (remoteAddress: string) => clients.of({ socket: { remoteAddress }, headers: {} });
  t.equal(of("2001:db8::1").network, "2001:db8:0:0::/64");
  t.equal(of("2001:0DB8:0:0:ffff::2").network, of("2001:db8::1").network);
  t.not(of("2001:db8:0:1::1").network, of("2001:db8::1").network);
  t.equal(of("fe80::1%eth0").network, of("fe80::2").network);
  t.equal(of("64:ff9b::192.0.2.33").network, "64:ff9b:0:0::/64", "translated is not mapped");
  t.equal(of("::ffff:203.0.113.9").network, client);
  t.match(
    [of("192.0.2.7"), of("::ffff:192.0.2.7"), of("2001:db8:ffff::1"), of(client)],
    [{ exempt: true }, { exempt: true }, { exempt: true }, { exempt: false }],
  );
});

t.test("the log names the client a trusted proxy speaks for, also when it leaves", async (t) => {
  const upstream = await startUpstream(t);
  const image = makeImage({ layers: [1000, 1001] });
  upstream.addImage("team/app", "1", image);
  const mirror = await startMirror(t, upstream, { trustedProxies: ["127.0.0.1"] });
  await mirror.get("/v2/", { "x-forwarded-for": `${forged}, ${client}` });
  t.match(await mirror.line(({ path }) => path === "/v2/"), { client });
  await mirror.get("/v2/team/app/manifests/1", { forwarded: `for=${client}` });
  t.match(await mirror.line(({ route }) => route === "manifest_tag"), { client });
  await mirror.raw(`GET /v2/x HTTP/1.1\r\nHost: a\r\nHost: b\r\nX-Forwarded-For: ${client}\r\n\r\n`);
  t.match(await mirror.line(({ status }) => status === 400), { client }, "refused before it is understood");

  upstream.fault(({ kind }) => (kind === "blob" ? { hang: true } : undefined));
  for (const [at, header, wanted] of [
    [0, `X-Forwarded-For: ${client}\r\n`, client],
    [1, "", "127.0.0.1"],
  ] as const) {
    const digest = image.layers[at]?.digest;
    const socket = connect(Number(mirror.url.port), mirror.url.hostname);
    await once(socket, "connect");
    socket.write(`GET /v2/team/app/blobs/${digest} HTTP/1.1\r\nHost: a\r\n${header}\r\n`);
    await upstream.until(() => upstream.count({ reference: digest }) === 1);
    socket.resetAndDestroy();
    t.match(await mirror.line(({ path }) => `${path}`.endsWith(`${digest}`)), {
      result: "aborted",
      client: wanted,
    });
  }
});

t.test("a path before this mirror is believed of trusted proxies only", async (t) => {
  const clients = new ClientAddresses({ trustedProxies: ["10.0.0.0/8"] });
  const prefix = (header: string | undefined, address: string) =>
    clients.forwardedPrefix(header === undefined ? {} : { "x-forwarded-prefix": header }, address);
  t.equal(prefix("/registry/", "10.1.1.1"), "/registry");
  t.equal(prefix("/registry", "::ffff:10.1.1.1"), "/registry");
  t.equal(prefix("/registry", "192.0.2.1"), undefined);
  t.equal(prefix("/registry", ""), undefined);
  t.equal(prefix("//evil.example.com", "10.1.1.1"), undefined);
  t.equal(prefix(undefined, "10.1.1.1"), undefined);
});

t.test(
  "where a client has reached this mirror, behind a proxy at a unix socket and without one",
  async (t) => {
    const addresses = new ClientAddresses({ trustedProxies: ["unix:"] });
    const said = { host: "mirror", "x-forwarded-proto": "https", "x-forwarded-host": "hub.example.com" };
    t.equal(addresses.originOf(said, unixPeer, "http"), "https://hub.example.com");
    t.equal(addresses.originOf(said, "10.0.0.1", "http"), "http://mirror");
    t.equal(addresses.originOf(said, "10.0.0.1", "https"), "https://mirror");
    t.equal(addresses.originOf({}, unixPeer, "http"), undefined, "HTTP/1.0 needs no Host");
  },
);

t.test("whatever a proxy or a client writes, it is an origin or nothing", async (t) => {
  const addresses = new ClientAddresses({ trustedProxies: ["10.0.0.1"] });
  const seeded = new SeededRandom(45);
  const parts = [
    "a",
    "mirror",
    ".",
    "-",
    "_",
    ":",
    "5000",
    "[::1]",
    "[",
    "]",
    '"',
    ",",
    ";",
    "/",
    "@",
    "\\",
    " ",
    "%",
    "é",
    "https",
    "http",
    "=",
    "host=",
    "proto=",
    "for=",
    "?",
    "#",
  ];
  const text = (): string =>
    Array.from(
      { length: Math.floor(seeded.next() * 7) },
      () => parts[Math.floor(seeded.next() * parts.length)],
    ).join("");
  let origins = 0;
  for (let round = 0; round < 20_000; round++) {
    const names = ["host", "x-forwarded-host", "x-forwarded-proto", "forwarded"].filter(
      () => seeded.next() < 0.6,
    );
    const headers = Object.fromEntries(names.map((name) => [name, text()]));
    const address = seeded.next() < 0.5 ? "10.0.0.1" : "10.0.0.2";
    const origin = addresses.originOf(headers, address, "http");
    if (origin === undefined) continue;
    origins++;
    if (!/^https?:\/\/(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?$/.test(origin))
      t.fail(JSON.stringify({ headers, origin }));
  }
  t.ok(origins > 300, String(origins));
});
