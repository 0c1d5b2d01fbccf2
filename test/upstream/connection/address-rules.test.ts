import t from "tap";
import { createAddressRules } from "../../../src/upstream/connection/address-rules.ts";

t.test("only public addresses may be connected to, in whatever way they are written", async (t) => {
  const { permits } = createAddressRules([]);
  for (const address of ["8.8.8.8", "52.95.110.1", "2600:9000:2000::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
    t.ok(permits(address), address);
  for (const address of [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.5",
    "224.0.0.251",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:10.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::8.8.8.8",
    "2002:7f00:1::",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "4000::1",
    "no address",
    "",
  ])
    t.notOk(permits(address), address);
});

t.test("what is listed may be connected to", async (t) => {
  const listed = [
    "10.1.0.0/16",
    "192.168.1.7",
    "fd00:1::/32",
    "[::1]",
    "Storage.Example.com.",
    "64:ff9b:1::/48",
  ];
  const { permits, trusts } = createAddressRules(listed);
  for (const address of ["10.1.2.3", "::ffff:10.1.2.3", "192.168.1.7", "fd00:1::5", "::1", "64:ff9b:1::a"])
    t.ok(permits(address), address);
  for (const address of ["10.2.0.1", "192.168.1.8", "fd00:2::5", "127.0.0.1", "::ffff:10.2.0.1"])
    t.notOk(permits(address), address);
  t.ok(trusts("storage.example.com"));
  t.ok(trusts("STORAGE.example.com."));
  for (const host of ["example.com", "a.storage.example.com", "10.1.0.0/16"]) t.notOk(trusts(host), host);
});
