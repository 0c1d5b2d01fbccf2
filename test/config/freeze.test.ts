import t from "tap";
import { configOf } from "../fixtures/loading.ts";

const config = configOf({
  yaml: "upstream: {url: https://registry.example.com/a, username: u, password: p}\ntags: {rules: [{match: x, ttl: 1s}]}\n",
});

t.test("every object of a configuration is frozen", async (t) => {
  const open: string[] = [];
  const visit = (value: unknown, path: string) => {
    if (typeof value !== "object" || value === null) return;
    if (!Object.isFrozen(value)) open.push(path);
    for (const [key, each] of Object.entries(value)) visit(each, `${path}.${key}`);
  };
  visit(config, "config");
  t.same(open, []);
  t.throws(() => Object.assign(config.tags.rules[0] as object, { ttl: 0 }), TypeError);
});

t.test("the URL of the upstream cannot be pointed elsewhere", async (t) => {
  const { url } = config.upstreams[0];
  for (const part of [
    "href",
    "host",
    "hostname",
    "port",
    "pathname",
    "protocol",
    "username",
    "password",
    "search",
    "hash",
  ]) {
    t.throws(() => Reflect.set(url, part, "x") || fail(part), part);
  }
  url.searchParams.append("a", "b");
  t.equal(url.href, "https://registry.example.com/a");
  t.equal(String(url), "https://registry.example.com/a");
  t.equal(new URL("v2/", `${url}/`).href, "https://registry.example.com/a/v2/");
  t.equal(url.origin, "https://registry.example.com");
});

function fail(part: string): never {
  throw new TypeError(`${part} is read-only`);
}
