import t from "tap";
import { Authority, withoutOpenssl } from "../fixtures/certificates.ts";
import { configOf, loadedFrom, problemsOf } from "../fixtures/loading.ts";

const upstream = "upstream: { name: far, url: 'https://registry.example.com' }\n";

t.test("a name and an address are enough", async (t) => {
  const [sibling] = configOf({
    yaml: `${upstream}siblings: [{ name: dc2, url: https://mirror.dc2.example.com/ }]`,
  }).siblings as object[];
  t.match(sibling, {
    name: "dc2",
    url: new URL("https://mirror.dc2.example.com"),
    upstreams: undefined,
    auth: { kind: "none" },
    tls: undefined,
    timeout: 500,
    maxConnections: 16,
  });
  t.same(configOf({ yaml: upstream }).siblings, []);
});

t.test("all that is said of one", { skip: withoutOpenssl() }, async (t) => {
  const { cert } = new Authority(t.testdir(), "ca");
  const yaml = `${upstream}
siblings:
  - name: dc2
    url: https://mirror.dc2.example.com/cache
    upstreams: { far: hub }
    username: mirror-dc1
    passwordFile: /secret
    tls: { ca: /ca.pem, serverName: mirror.example.com }
    timeout: 300ms
    maxConnections: 4
`;
  const [sibling] = configOf({ yaml, files: { "/secret": "s3cret\n", "/ca.pem": cert } }).siblings ?? [];
  t.match(sibling, {
    upstreams: { far: "hub" },
    auth: { kind: "basic", username: "mirror-dc1" },
    tls: { ca: cert, serverName: "mirror.example.com" },
    timeout: 300,
    maxConnections: 4,
  });
  t.equal(sibling?.auth.kind === "basic" && (await sibling.auth.password.read()).reveal(), "s3cret");
});

t.test("an account over plain http is warned of", async (t) => {
  const warnings = (sibling: string) =>
    loadedFrom({ yaml: `${upstream}siblings: [{ ${sibling} }]` }).warnings.map(({ message }) => message);
  const account = "username: a, password: abcdefgh";
  t.match(warnings(`name: dc2, url: http://10.0.0.1:5000, ${account}`), [/^plain http: .* credentials/]);
  t.same(warnings(`name: dc2, url: http://127.0.0.1:5000, ${account}`), []);
  t.same(warnings("name: dc2, url: http://10.0.0.1:5000"), []);
});

t.test("what contradicts itself is told with its place", async (t) => {
  const problems = (...siblings: string[]) =>
    problemsOf({ yaml: `${upstream}siblings: [${siblings.map((each) => `{${each}}`).join(", ")}]` });
  const dc2 = "name: dc2, url: http://10.0.0.1:5000";
  t.same(problems(dc2), []);
  t.match(problems(dc2, "name: DC2, url: http://10.0.0.2:5000"), [/siblings\[1\]\.name.*/, /dc2/i]);
  t.match(problems(dc2, dc2), [/found "dc2", which siblings\[0\]\.name .* has already/]);
  t.match(problems(`${dc2}, username: a`), [/a user name without a password/]);
  t.match(problems(`${dc2}, password: abcdefgh`), [/a password without a user name/]);
  t.match(problems(`${dc2}, upstreams: { fra: hub }`), [
    /found "fra", expected one of far; did you mean far\?/,
  ]);
  t.match(problems(`${dc2}, tls: { cert: /x.pem }`).join(), /a certificate without its key/);
  t.match(problems("url: http://10.0.0.1:5000"), [/name/]);
  t.match(problems("name: dc2"), [/url/]);
  t.match(problems("name: dc2, url: http://10.0.0.1:5000/v2"), [/without \/v2/]);
  t.match(problems(...Array.from({ length: 9 }, (_, i) => `name: d${i}, url: http://10.0.0.${i}:5000`)), [
    /at most 8 siblings/,
  ]);
});
