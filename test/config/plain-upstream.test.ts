import t from "tap";
import { helperRegistry, plainUpstream } from "../../src/config/plain-upstream.ts";
import { configOf } from "../fixtures/loading.ts";

t.test("it is what a name and a URL come to in a file", async (t) => {
  for (const url of ["https://registry.example.com", "https://registry-1.docker.io"]) {
    const { tls, redirects, ...loaded } = configOf({ yaml: `upstream: {url: ${url}}\n` }).upstreams[0];
    t.same(loaded, plainUpstream("upstream", new URL(url)));
    t.same([tls, redirects], [undefined, { allowPrivate: [] }]);
  }
});

t.test("the name of a registry for a credential helper", async (t) => {
  t.equal(helperRegistry(new URL("https://registry.example.com:8443/a")), "registry.example.com:8443");
  t.equal(helperRegistry(new URL("https://registry-1.docker.io")), "https://index.docker.io/v1/");
});
