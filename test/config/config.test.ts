import t from "tap";
import { plainUpstream } from "../../src/config/config.ts";
import { configOf } from "../fixtures/loading.ts";

t.test("a plain upstream is what a name and a URL come to in a file", async (t) => {
  for (const url of ["https://registry.example.com", "https://registry-1.docker.io"])
    t.same(
      configOf({ yaml: `upstream: {url: ${url}}\n` }).upstreams[0],
      plainUpstream("upstream", new URL(url)),
    );
});

const config = configOf({
  yaml: "upstream: {url: https://registry.example.com/a, username: u, password: p}\ntags: {rules: [{match: x, ttl: 1s}]}\n",
});

t.test("every object of a configuration is frozen", async (t) => {
  const open: string[] = [];
  const visit = (value: unknown, path: string) => {
    if (typeof value !== "object" || value === null || value instanceof URL) return;
    if (!Object.isFrozen(value)) open.push(path);
    for (const [key, each] of Object.entries(value)) visit(each, `${path}.${key}`);
  };
  visit(config, "config");
  t.same(open, []);
  t.throws(() => Object.assign(config.tags.rules[0] as object, { ttl: 0 }), TypeError);
});
