import { inspect } from "node:util";
import t from "tap";
import { changesBetween } from "../../src/config/changes.ts";
import { renderConfig } from "../../src/config/print.ts";
import { parseProxy, usualProxies } from "../../src/config/proxy.ts";
import { configOf, loadedFrom, problemsOf, upstreamsYaml, upstreamUrl } from "../fixtures/loading.ts";

t.test("proxies in every way they are written", async (t) => {
  for (const [written, name] of [
    ["http://proxy.example.com:3128", "http://proxy.example.com:3128"],
    ["http://Proxy.Example.com/", "http://proxy.example.com:80"],
    ["http://proxy:80", "http://proxy:80"],
    ["proxy:3128", "http://proxy:3128"],
    ["proxy", "http://proxy:80"],
    ["user:secret@proxy:3128", "http://proxy:3128"],
    ["https://proxy", "https://proxy:443"],
    ["https://proxy:80", "https://proxy:80"],
    ["socks5://proxy", "socks5://proxy:1080"],
    ["socks5h://proxy:80", "socks5://proxy:80"],
    ["SOCKS://10.0.0.1", "socks5://10.0.0.1:1080"],
    ["http://[::1]:3128", "http://[::1]:3128"],
  ] as const)
    t.match(parseProxy(written), { value: { name } }, written);
  const account = parseProxy("http://us%40er:p%3As@s@proxy:3128");
  t.match(account, { value: { username: "us@er", name: "http://proxy:3128" } });
  t.equal("value" in account && account.value.password?.reveal(), "p:s@s");
  for (const written of [
    "",
    "socks4://proxy",
    "ftp://proxy",
    "http://",
    "http://proxy:0",
    "http://proxy:70000",
    "http://proxy/path",
    "http://proxy?a",
    "http://a b",
    "http://:secret@proxy",
    "http://a%3Ab:c@proxy",
    "http://a:%zz@proxy",
    "http://a:%0a@proxy",
    `http://a:${"b".repeat(256)}@proxy`,
  ])
    t.match(parseProxy(written), { expected: /socks5/ }, written);
});

t.test("the variables of every program, small letters first", async (t) => {
  const { config } = usualProxies({
    HTTPS_PROXY: "http://capitals",
    https_proxy: "http://small",
    ALL_PROXY: "socks5://all",
    no_proxy: ".corp.example, 10.0.0.0/8 odd_/entry",
    NO_PROXY: "other.example",
  });
  t.match(config, {
    https: { name: "http://small:80" },
    http: { name: "socks5://all:1080" },
    noProxy: [".corp.example", "10.0.0.0/8"],
  });
  t.match(usualProxies({ http_proxy: "", HTTP_PROXY: "a:1" }).config.http, { name: "http://a:1" });
  t.same(usualProxies({}), { config: { http: undefined, https: undefined, noProxy: [] }, wrong: [] });
});

t.test("a usual variable that names no proxy is a problem; its value is not shown", async (t) => {
  const problems = problemsOf({ env: { ...upstreamUrl, HTTPS_PROXY: "socks4://user:hunter2@proxy" } });
  t.match(problems.join("\n"), /HTTPS_PROXY: found a value that is no proxy/);
  t.notMatch(problems.join("\n"), /hunter2/);
  t.same(problemsOf({ env: { ...upstreamUrl, ALL_PROXY: "ftp://a" } }).length, 1, "told once");
});

t.test("a setting for all, one for each upstream, and none", async (t) => {
  const yaml = `proxy: http://common:3128
noProxy: [near.example.com]
s3: {bucket: images}
${upstreamsYaml(
  "name: a, url: https://a.example.com",
  "name: b, url: https://b.example.com, proxy: socks5://other, noProxy: []",
  "name: c, url: https://c.example.com, proxy: none",
)}`;
  const config = configOf({ yaml, env: { HTTPS_PROXY: "http://usual", NO_PROXY: "usual.example.com" } });
  const common = { name: "http://common:3128" };
  t.match(config.upstreams[0].proxy, { http: common, https: common, noProxy: ["near.example.com"] });
  t.match(config.upstreams[1]?.proxy, { https: { name: "socks5://other:1080" }, noProxy: [] });
  t.equal(config.upstreams[2]?.proxy, undefined);
  t.match(config.s3?.proxy, { https: common });
  const usual = configOf({ env: { ...upstreamUrl, HTTPS_PROXY: "http://usual", NO_PROXY: "b.example.com" } });
  t.match(usual.upstreams[0].proxy, {
    https: { name: "http://usual:80" },
    http: undefined,
    noProxy: ["b.example.com"],
  });
  t.equal(configOf({ env: upstreamUrl }).upstreams[0].proxy, undefined);
});

t.test("its account is in no message, print or change", async (t) => {
  const env = { ...upstreamUrl, ENTREPOT_PROXY: "http://user:hunter2@proxy:3128" };
  const loaded = loadedFrom({ env });
  t.equal(loaded.config.upstreams[0].proxy?.https?.password?.reveal(), "hunter2");
  const text = renderConfig(loaded);
  t.match(text, /^proxy: http:\/\/proxy:3128 # ENTREPOT_PROXY$/m);
  t.match(text, /^# the account of proxy: not shown$/m);
  const next = loadedFrom({ env: { ...env, ENTREPOT_PROXY: "http://user:hunter3@proxy:3128" } });
  const moved = loadedFrom({ env: { ...env, ENTREPOT_PROXY: "none" } });
  const changes = [changesBetween(loaded, loaded, next), changesBetween(loaded, loaded, moved)];
  t.match(changes, [
    { applied: [{ key: "proxy", text: "proxy: changed" }] },
    { applied: [{ key: "proxy", text: "proxy: http://proxy:3128 -> none" }] },
  ]);
  const wrong = problemsOf({ env: { ...env, ENTREPOT_PROXY: "ftp://user:hunter2@proxy" } });
  t.match(wrong.join(), /found a value that may hold a password \(not shown\), expected http:\/\/host:port/);
  t.notMatch(text + inspect([loaded.config, changes, wrong], { depth: 9 }), /hunter/);
});

t.test("a proxy that is a variable in the file is printed as that", async (t) => {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of the environment
  const yaml = "proxy: ${PROXY}\nupstream: {url: https://a.example.com}\n";
  const text = renderConfig(loadedFrom({ yaml, env: { PROXY: "http://user:hunter2@proxy:3128" } }));
  t.match(text, /^proxy: \$\{PROXY\} # mirror\.yaml:1:8$/m);
  t.notMatch(text, /hunter2/);
});
