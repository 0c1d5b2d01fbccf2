import t from "tap";
import { parseProxy } from "../../src/config/proxy.ts";
import { forwardingProxy, proxyFor } from "../../src/outbound/proxy.ts";

function server(written: string) {
  const parsed = parseProxy(written);
  if ("value" in parsed) return parsed.value;
  throw new Error(parsed.expected);
}

const http = server("http://plain.example.com:3128");
const https = server("http://secure.example.com:3128");

/** Which of the addresses are connected to directly. */
function direct(noProxy: readonly string[], urls: readonly string[]): string[] {
  return urls.filter((url) => proxyFor({ http, https, noProxy }, new URL(url)) === undefined);
}

t.test("plain http and https may have different proxies, or one of them none", async (t) => {
  t.equal(proxyFor({ http, https, noProxy: [] }, new URL("http://a.example.com")), http);
  t.equal(proxyFor({ http, https, noProxy: [] }, new URL("https://a.example.com")), https);
  t.equal(proxyFor({ http, https: undefined, noProxy: [] }, new URL("https://a.example.com")), undefined);
  t.equal(proxyFor(undefined, new URL("https://a.example.com")), undefined);
});

t.test("this machine is never reached through a proxy", async (t) => {
  const here = [
    "http://localhost:5000",
    "http://LOCALHOST./",
    "https://a.localhost/",
    "http://127.0.0.1/",
    "http://127.8.8.8/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://0.0.0.0/",
  ];
  t.same(direct([], here), here);
  t.same(direct([], ["http://10.0.0.1/", "http://localhost.example.com/", "http://[fd00::1]/"]), []);
});

t.test("noProxy: names and what is below them, addresses, networks, ports, everything", async (t) => {
  const names = ["https://corp.example/", "https://a.corp.example:8443/", "https://notcorp.example/"];
  for (const entry of ["corp.example", ".corp.example", "*.corp.example"])
    t.same(direct([entry], names), names.slice(0, 2), entry);
  t.same(direct(["corp.example:8443"], names), [names[1]]);
  t.same(direct(["corp.example:443"], names), [names[0]], "the scheme's own port");
  const addresses = ["http://10.1.2.3/", "http://[2001:db8::1]/", "http://a.example.com/"];
  t.same(direct(["10.0.0.0/8", "2001:db8::/32"], addresses), addresses.slice(0, 2));
  t.same(direct(["10.1.2.3", "2001:db8::1"], addresses), addresses.slice(0, 2));
  t.same(direct(["10.1.2.3:80", "[2001:db8::1]:80"], addresses), addresses.slice(0, 2));
  t.same(direct(["10.1.2.3:81", "[2001:db8::1]:81"], addresses), []);
  t.same(direct(["*"], [...names, ...addresses]), [...names, ...addresses]);
});

t.test("an HTTP proxy is sent requests of plain http itself; SOCKS5 never is", async (t) => {
  const config = { http, https, noProxy: ["near.example.com"] };
  t.equal(forwardingProxy(config, new URL("http://a.example.com")), http);
  t.equal(forwardingProxy(config, new URL("https://a.example.com")), undefined);
  t.equal(forwardingProxy(config, new URL("http://near.example.com")), undefined);
  const socks = { http: server("socks5://a.example.com"), https: undefined, noProxy: [] };
  t.equal(forwardingProxy(socks, new URL("http://a.example.com")), undefined);
});
