import t from "tap";
import { mirrorOfConfig } from "../../src/client-config/mirror-of-config.ts";
import { configOf, upstreamsYaml } from "../fixtures/loading.ts";

const url = new URL("http://mirror.example.com:5000");

t.test("registries by the hosts of the names that clients pull", (t) => {
  const yaml = upstreamsYaml(
    "name: corp, url: http://registry.example.com:8080/path",
    "name: hub, url: https://registry-1.docker.io",
    "name: two, url: https://two.example.com, namespaces: [a.example.com, b.example.com]",
  );
  const { registries } = mirrorOfConfig(configOf({ yaml }), url);
  t.strictSame(
    registries.map(({ host, server, namespace }) => [host, server, namespace]),
    [
      ["registry.example.com:8080", "http://registry.example.com:8080", "refused"],
      ["docker.io", "https://registry-1.docker.io", "leads"],
      ["a.example.com", "https://a.example.com", "leads"],
      ["b.example.com", "https://b.example.com", "leads"],
    ],
  );
  t.end();
});

t.test("who asks for a login: everybody's mode, or the upstream's own", (t) => {
  const asks = (yaml: string, files = {}) =>
    mirrorOfConfig(configOf({ yaml, files }), url).registries.map(({ asksForLogin }) => asksForLogin);
  t.strictSame(asks("upstream: {url: https://a.example.com}"), [false]);
  const hash = `alice:$2y$10$${"a".repeat(53)}`;
  const htpasswd = "access: {mode: htpasswd, htpasswdFile: users}\nupstream: {url: https://a.example.com}\n";
  t.strictSame(asks(htpasswd, { users: `${hash}\n` }), [true]);
  const mixed = upstreamsYaml(
    "name: a, url: https://a.example.com, access: passthrough",
    "name: b, url: https://b.example.com",
  );
  t.strictSame(asks(mixed), [true, false]);
  t.end();
});
