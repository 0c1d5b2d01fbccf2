import t from "tap";
import {
  formatAddress,
  formatBound,
  formatListenPlace,
  parseAddress,
  parseListenPlace,
  placesCollide,
} from "../../src/config/address.ts";

t.test("addresses and their printed form", async (t) => {
  for (const [text, host, port, printed] of [
    ["0.0.0.0:5000", "0.0.0.0", 5000, "0.0.0.0:5000"],
    [":5000", "", 5000, ":5000"],
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

t.test("unix sockets and sockets that are passed, beside addresses", async (t) => {
  for (const [text, value, printed] of [
    ["unix:/run/entrepot.sock", { path: "/run/entrepot.sock", mode: 0o660 }, "unix:/run/entrepot.sock"],
    ["unix:///run/e.sock?mode=0600", { path: "/run/e.sock", mode: 0o600 }, "unix:/run/e.sock?mode=0600"],
    ["unix:/run/e.sock?mode=666", { path: "/run/e.sock", mode: 0o666 }, "unix:/run/e.sock?mode=0666"],
    ["fd://3", { fd: 3 }, "fd://3"],
    [":5000", { host: "", port: 5000 }, ":5000"],
    ["[::]:5000", { host: "::", port: 5000 }, "[::]:5000"],
  ] as const) {
    t.same(parseListenPlace(text), { value }, text);
    t.equal(formatListenPlace(value), printed);
  }
  for (const [text, expected] of [
    ["/run/e.sock", /"unix:\/run\/e.sock"/],
    ["unix:run/e.sock", /absolute path/],
    ["unix:/", /absolute path/],
    ["unix:/run/", /absolute path/],
    ["unix:/run/e.sock?mode=999", /absolute path/],
    ["unix:/run/e.sock?x=1", /absolute path/],
    [`unix:/${"x".repeat(107)}`, /107 bytes/],
    ["fd://2", /from 3 on/],
    ["fd://", /without a scheme/],
    ["tcp://0.0.0.0:5000", /without a scheme/],
    ["*:5000", /":5000"/],
    ["5000", /":5000"/],
    ["::1:5000", /brackets/],
  ] as const)
    t.match(parseListenPlace(text), { expected }, text);
  t.equal(formatBound({ host: "::", port: 5000 }), "[::]:5000");
  t.equal(formatBound({ host: "", port: 0, path: "/run/e.sock" }), "unix:/run/e.sock");
});

t.test("two listeners collide on one port of one host, or of every host", async (t) => {
  const at = (host: string, port: number) => ({ host, port });
  t.ok(placesCollide(at("127.0.0.1", 5000), at("127.0.0.1", 5000)));
  t.ok(placesCollide(at("0.0.0.0", 5000), at("127.0.0.1", 5000)));
  t.ok(placesCollide(at("127.0.0.1", 5000), at("::", 5000)));
  t.ok(placesCollide(at("127.0.0.1", 5000), at("", 5000)));
  t.ok(placesCollide({ fd: 3 }, { fd: 3 }));
  t.ok(placesCollide({ path: "/a", mode: 0o600 }, { path: "/a", mode: 0o660 }));
  t.notOk(placesCollide({ path: "/a", mode: 0o600 }, { path: "/b", mode: 0o600 }));
  t.notOk(placesCollide({ fd: 3 }, at("", 5000)));
  t.notOk(placesCollide({ fd: 3 }, { path: "/a", mode: 0o600 }));
  t.notOk(placesCollide(at("127.0.0.1", 5000), at("127.0.0.2", 5000)));
  t.notOk(placesCollide(at("0.0.0.0", 5000), at("0.0.0.0", 5001)));
  t.notOk(placesCollide(at("0.0.0.0", 0), at("0.0.0.0", 0)), "port 0 is a new port each time");
});
