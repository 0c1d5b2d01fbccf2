import t from "tap";
import { addressesCollide, formatAddress, parseAddress } from "../../src/config/address.ts";

t.test("addresses and their printed form", async (t) => {
  for (const [text, host, port, printed] of [
    ["0.0.0.0:5000", "0.0.0.0", 5000, "0.0.0.0:5000"],
    [":5000", "0.0.0.0", 5000, "0.0.0.0:5000"],
    ["[::1]:5000", "::1", 5000, "[::1]:5000"],
    ["[::]:0", "::", 0, "[::]:0"],
    ["localhost:0", "localhost", 0, "localhost:0"],
    ["mirror-1.example.com:65535", "mirror-1.example.com", 65_535, "mirror-1.example.com:65535"],
  ] as const) {
    t.same(parseAddress(text), { value: { host, port } }, text);
    t.equal(formatAddress({ host, port }), printed);
  }
});

t.test("what is no address, and what to write instead", async (t) => {
  for (const [text, expected] of [
    ["5000", /":5000"/],
    ["::1", /brackets/],
    ["::1:5000", /brackets/],
    ["", /^host:port/],
    ["localhost", /^host:port/],
    ["localhost:", /^host:port/],
    ["localhost:http", /^host:port/],
    ["http://localhost:5000", /^host:port/],
    ["localhost:65536", /0 to 65535/],
    ["256.1.1.1:5000", /IP address or a host name/],
    ["1.2.3:5000", /IP address or a host name/],
    ["-bad:5000", /IP address or a host name/],
    ["a_b:5000", /IP address or a host name/],
    ["[localhost]:5000", /in the brackets/],
    ["[]:5000", /in the brackets/],
  ] as const) {
    t.match(parseAddress(text), { expected }, JSON.stringify(text));
  }
});

t.test("two listeners collide on one port of one host, or of every host", async (t) => {
  const at = (host: string, port: number) => ({ host, port });
  t.ok(addressesCollide(at("127.0.0.1", 5000), at("127.0.0.1", 5000)));
  t.ok(addressesCollide(at("0.0.0.0", 5000), at("127.0.0.1", 5000)));
  t.ok(addressesCollide(at("127.0.0.1", 5000), at("::", 5000)));
  t.notOk(addressesCollide(at("127.0.0.1", 5000), at("127.0.0.2", 5000)));
  t.notOk(addressesCollide(at("0.0.0.0", 5000), at("0.0.0.0", 5001)));
  t.notOk(addressesCollide(at("0.0.0.0", 0), at("0.0.0.0", 0)), "port 0 is a new port each time");
});
