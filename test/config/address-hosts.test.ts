import t from "tap";
import {
  parseDestination,
  parseHost,
  parseHostAndPort,
  parseNetwork,
  parseServerName,
} from "../../src/config/address.ts";

const names = ["registry.example.com", "localhost", "my_registry", "10.0.0.1", "[::1]"];
const noHosts = [
  "",
  "-a.example.com",
  "a..example.com",
  "1.2.3",
  "300.1.1.1",
  "https://a.example.com",
  "a/b",
  "[x]",
];

t.test("a host with or without its port, in lower case", async (t) => {
  for (const name of names) {
    t.same(parseHostAndPort(` ${name.toUpperCase()} `), { value: name });
    t.same(parseHostAndPort(`${name}:8443`), { value: `${name}:8443` });
  }
  for (const text of [...noHosts, "a:", "a:b", "a:65536", "::1"])
    t.match(parseHostAndPort(text), { expected: /^a host, with its port/ }, text);
});

t.test("a host without a port", async (t) => {
  for (const name of names) t.same(parseHost(name.toUpperCase()), { value: name });
  for (const text of [...noHosts, "a.example.com:5000", "::1"])
    t.match(parseHost(text), { expected: /without a scheme or a port/ }, text);
});

t.test("a name for TLS is no address", async (t) => {
  t.same(parseServerName("Registry.example.com"), { value: "registry.example.com" });
  for (const text of ["10.0.0.1", "[::1]", "a:443", ""])
    t.match(parseServerName(text), { expected: /^a host name/ }, text);
});

t.test("where redirects may lead: hosts, addresses, networks", async (t) => {
  for (const text of [...names, "::1", "10.0.0.0/8", "fd00::/8"])
    t.same(parseDestination(text), { value: text });
  for (const text of ["10.0.0.0/33", "a.example.com/8", "a.example.com:9000", "https://a.example.com"])
    t.match(parseDestination(text), { expected: /a network such as 10\.0\.0\.0\/8/ }, text);
});

t.test("networks and addresses, and no names", async (t) => {
  const networks = [
    "10.0.0.1",
    "10.0.0.0/8",
    "0.0.0.0/0",
    "::1",
    "2001:db8::/32",
    "::ffff:10.0.0.0/104",
    "::ffff:10.0.0.1",
  ];
  for (const text of networks) t.same(parseNetwork(` ${text.toUpperCase()} `), { value: text });
  const others = [
    ...["", "a.example.com", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0.0/8/8", "10.1/16", "0x7f.1"],
    ...["::1/129", "[::1]", "fe80::1%eth0", "::ffff:10.0.0.0/8", "10.0.0.1:80", "*"],
  ];
  for (const text of others) t.match(parseNetwork(text), { expected: /^an IP address or a network/ }, text);
});
