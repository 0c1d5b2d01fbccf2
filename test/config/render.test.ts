import t from "tap";
import { renderConfig } from "../../src/config/render.ts";
import { configOf, loadedFrom, upstreamUrl } from "../fixtures/loading.ts";

const yaml = `
listen: "[::1]:5000"
opsListen: :0
catalog: false
drainTimeout: 90s
log: {level: debug}
upstream: {name: far, url: https://registry.example.com/a, maxConnections: 7}
`;

t.test("what is printed loads to the same configuration", async (t) => {
  const given = {
    yaml,
    env: {
      ENTREPOT_CACHE_DIR: "./a b: #c",
      ENTREPOT_CACHE_MAX_SIZE: "1.5TiB",
      ENTREPOT_CACHE_EVICT_TO: "12.5%",
      ENTREPOT_STALE_IF_ERROR: "forever",
      ENTREPOT_UPSTREAM_CONNECT_TIMEOUT: "1500ms",
    },
  };
  const { config, origins } = loadedFrom(given);
  t.same(configOf({ yaml: renderConfig(config, origins) }), config);
  const rules = `${yaml}tags: {rules: [{match: "**:latest", ttl: 0s}, {match: "a/*:v*", ttl: forever}]}\n`;
  const second = loadedFrom({ yaml: rules });
  t.same(configOf({ yaml: renderConfig(second.config, second.origins) }), second.config);
});

t.test("every line says where its value came from", async (t) => {
  const { config, origins } = loadedFrom({ yaml: "tags:\n  ttl: 5m\n", env: upstreamUrl });
  const text = renderConfig(config, origins);
  t.match(text, /^listen: 0\.0\.0\.0:5000 # default$/m);
  t.match(text, /^ {2}url: https:\/\/registry\.example\.com\/ # ENTREPOT_UPSTREAM_URL$/m);
  t.match(text, /^ {2}ttl: 5m # mirror\.yaml:2:8$/m);
});

t.test("the password is a comment that says where it is from", async (t) => {
  const env = { ...upstreamUrl, ENTREPOT_UPSTREAM_USERNAME: "mirror" };
  const direct = loadedFrom({ env: { ...env, ENTREPOT_UPSTREAM_PASSWORD: "hunter2" } });
  const text = renderConfig(direct.config, direct.origins);
  t.match(text, /^ {2}# password: not shown, from ENTREPOT_UPSTREAM_PASSWORD$/m);
  t.notMatch(text, /hunter2/);
  const file = loadedFrom({
    env: { ...env, ENTREPOT_UPSTREAM_PASSWORD_FILE: "/p" },
    files: { "/p": "hunter2" },
  });
  const other = renderConfig(file.config, file.origins);
  t.match(other, /^ {2}# password: not shown, from ENTREPOT_UPSTREAM_PASSWORD_FILE$/m);
  t.notMatch(other, /hunter2/);
});
