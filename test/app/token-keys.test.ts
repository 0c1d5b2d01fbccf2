// Workloads that log in by the tokens of their platform, and where the platform's keys are found.
import t, { type Test } from "tap";
import { TokenKeys } from "../../src/app/token-keys.ts";
import type { KeysConfig, WorkloadsConfig } from "../../src/config/config.ts";
import { fixedSecret, Secret } from "../../src/ports/secret.ts";
import { bearer, login, namedAccess, ownTokens, rule } from "../fixtures/access.ts";
import { makeImage } from "../fixtures/images.ts";
import { type JwtIssuer, startJwtIssuer } from "../fixtures/jwt-issuer.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [1_000], seed: "workloads" });
const path = "/v2/team/app/manifests/1";

async function setUp(t: Test, issuer: JwtIssuer, keys: KeysConfig) {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", image);
  const workloads: WorkloadsConfig = {
    name: "ci",
    issuer: issuer.url,
    audience: "mirror",
    keys,
    claims: { project: "acme/*" },
    groups: ["project"],
  };
  const mirror = await startMirror(t, upstream, {
    access: {
      ...namedAccess({ alice: "1" }, [rule({ groups: ["ci:project=acme/app"] }), rule({ users: ["alice"] })]),
      workloads: [workloads],
      tokens: ownTokens,
    },
  });
  return { mirror, get: (headers: Record<string, string>) => mirror.get(path, headers) };
}

t.test("the keys are found by discovery, and the workload pulls with its token as a password", async (t) => {
  const issuer = await startJwtIssuer(t);
  const { mirror, get } = await setUp(t, issuer, { kind: "discovery" });
  const token = await issuer.sign({ sub: "job", project: "acme/app" });
  t.equal((await get(login("oidc", token))).status, 200);
  t.same(issuer.asked, ["/.well-known/openid-configuration", "/keys"]);
  t.match(await mirror.line(({ user }) => user !== undefined), { user: "ci:job", status: 200 });
  t.equal((await get(login("oidc", await issuer.sign({ project: "acme/other" })))).status, 403);
  t.equal((await get(login("oidc", await issuer.sign({ project: "evil/app" })))).status, 401);
  t.equal((await get(login("alice", token))).status, 401, "it is nobody else's password");
  t.equal((await get(login("alice", "1"))).status, 200);
  const { body } = await mirror.get("/v2/token?scope=repository:team/app:pull", login("oidc", token));
  const own = JSON.parse(body.toString());
  t.ok(own.expires_in <= 300);
  t.equal((await get(bearer(own.token))).status, 200, "changed for a token of the mirror's own");
  t.equal((await get(bearer(token))).status, 401, "which the platform's is not");
  const ending = await issuer.sign({ project: "acme/app", exp: Math.floor(Date.now() / 1000) + 60 });
  const short = JSON.parse((await mirror.get("/v2/token", login("oidc", ending))).body.toString());
  t.ok(short.expires_in <= 90, "no token outlives what it was given for");
  t.notMatch(JSON.stringify(mirror.lines), new RegExp(token.split(".")[2] ?? ""), "no token in the log");
});

t.test("the keys are in a file, and nobody is asked", async (t) => {
  const issuer = await startJwtIssuer(t);
  const file = fixedSecret(new Secret(JSON.stringify(await issuer.set())));
  const { get } = await setUp(t, issuer, { kind: "file", file });
  t.equal((await get(login("oidc", await issuer.sign({ project: "acme/app" })))).status, 200);
  t.same(issuer.asked, []);
});

t.test("a document of another issuer, or one that leads elsewhere, is not believed", async (t) => {
  const problems: string[] = [];
  const log = { warn: (context: object) => problems.push(String((context as { problem: string }).problem)) };
  const read = async (issuer: JwtIssuer) => {
    const keys = new TokenKeys({ log, clock: () => 0 });
    const from = { issuer: issuer.url, keys: { kind: "discovery" } as const };
    const of = keys.of({
      htpasswd: undefined,
      rules: [],
      issuer: { ...from, audience: "mirror", realm: "" },
    });
    await of(from).prepare();
  };
  const issuer = await startJwtIssuer(t);
  issuer.calledIssuer = "https://other.example.com";
  await read(issuer);
  issuer.calledIssuer = undefined;
  issuer.calledKeys = "file:///etc/passwd";
  await read(issuer);
  issuer.calledKeys = "no url";
  await read(issuer);
  t.match(problems, [/is that of another issuer$/, /names no place of keys/, /names no place of keys/]);
});

t.test(
  "while the keys were never read nobody is told that the token is wrong; a reload keeps those that were",
  async (t) => {
    const issuer = await startJwtIssuer(t);
    issuer.isDown = true;
    const { get, mirror } = await setUp(t, issuer, { kind: "url", url: issuer.keysUrl });
    t.equal((await get(login("oidc", await issuer.sign({ project: "acme/app" })))).status, 503);
    t.match(await mirror.line(({ level }) => level === "warn"), {
      issuer: issuer.url,
      problem: /answers 500$/,
    });
    const keys = new TokenKeys({ log: { warn: () => {} }, clock: () => 0 });
    issuer.isDown = false;
    const from = { issuer: issuer.url, keys: { kind: "url", url: issuer.keysUrl } as const };
    const access = { htpasswd: undefined, rules: [], issuer: { ...from, audience: "mirror", realm: "" } };
    const before = keys.of(access)(from);
    t.equal(keys.of(access)(from), before);
  },
);
