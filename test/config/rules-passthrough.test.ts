import t from "tap";
import { configOf, problemsOf, warningsOf } from "../fixtures/loading.ts";

const url = "upstream:\n  url: https://registry.example.com\n";
const mode = "access:\n  mode: passthrough\n";
const list = (...upstreams: string[]): string =>
  `upstreams:\n${upstreams.map((each) => `  - {${each}}\n`).join("")}`;
const far = "name: far, url: https://registry.example.com/a";
const hub = "name: hub, url: https://registry-1.docker.io";

t.test("for all upstreams, and for one of them", async (t) => {
  const all = configOf({ yaml: url + mode });
  t.match(all.access, { passthrough: { proofLifetime: 300_000 }, rules: [] });
  t.equal(all.upstreams[0].access, "passthrough");
  const accessOf = (yaml: string) => configOf({ yaml }).upstreams.map(({ access }) => access);
  t.same(accessOf(`${list(far, `${hub}, access: open`)}${mode}`), ["passthrough", "open"]);
  t.same(accessOf(list(hub, `${far}, access: passthrough`)), ["open", "passthrough"]);
  t.same(accessOf(url), ["open"]);
  t.equal(configOf({ yaml: url }).access, undefined);
  const env = { ENTREPOT_UPSTREAM_ACCESS: "passthrough", ENTREPOT_ACCESS_PROOF_LIFETIME: "15m" };
  t.same(configOf({ yaml: url, env }).access?.passthrough, { proofLifetime: 900_000 });
  t.match(problemsOf({ yaml: `${url}${mode}  proofLifetime: 16m\n` }), [/proofLifetime .*15m/]);
});

t.test("one Authorization header comes with a request: what does not go with that is refused", async (t) => {
  const problems = (yaml: string, files = {}) => problemsOf({ yaml, files });
  t.match(problems(list(far, "name: b, url: https://other.example.com") + mode), [
    /^upstreams\[1\]\.url .*: found another registry than upstreams\[0\]\.url, expected the same host: clients would send the credentials of one to the other/,
  ]);
  t.same(problems(list(far, "name: b, url: https://registry.example.com/b") + mode), []);
  const users = { "/users": `alice:$2y$05$${"a".repeat(53)}\n` };
  t.match(problems(`${url}  access: open\naccess: {mode: htpasswd, htpasswdFile: /users}\n`, users), [
    /^upstream\.access .*: found this with access\.mode: htpasswd, expected it left out/,
  ]);
  t.match(problems(`${url}${mode}  rules:\n    - {anonymous: true}\n`), [
    /^access\.rules .*: found rules, expected none: with passthrough the registry decides/,
  ]);
  t.match(problems(`${url}${mode}proofs: shared\n`), [/^proofs .*: found shared, expected own/]);
  for (const [from, to] of [
    [`${far}, next: hub`, `${hub}, access: open`],
    [far, `${hub}, access: open, next: far`],
  ] as const)
    t.match(problems(list(from, to) + mode), [
      /next .*: found another upstream to ask before or after one with passthrough, expected none/,
    ]);
  t.match(problems(`${url}  access: open\n${mode}`), [
    /^access\.mode .*: found passthrough, and every upstream is open/,
  ]);
});

t.test("credentials of callers over plain http are warned of", async (t) => {
  const yaml = `upstream:\n  url: http://registry.example.com\n${mode}`;
  t.match(warningsOf({ yaml }), [/plain http: everybody on the way can read the credentials/]);
});
