// A refused request looks nothing up: neither how long it takes nor its headers tell what is held here.
import t, { type Test } from "tap";
import { AccessRules } from "../../src/gate/access-rules.ts";
import { Gate } from "../../src/gate/gate.ts";
import { HtpasswdUsers } from "../../src/gate/htpasswd-users.ts";
import { Passwords } from "../../src/gate/passwords.ts";
import { ProvedRights } from "../../src/gate/proved-rights.ts";
import { BearerTokens } from "../../src/gate/token/bearer-tokens.ts";
import { OwnTokens } from "../../src/gate/token/own-tokens.ts";
import { makeTokenKey } from "../../src/gate/token/token-key.ts";
import { defaultLimits, openAnswers } from "../../src/http/client-limits.ts";
import { Listener } from "../../src/http/listener.ts";
import { Router, type Routing } from "../../src/http/routing.ts";
import { type ServeOptions, serve } from "../../src/http/serve.ts";
import { fixedSecret } from "../../src/ports/secret.ts";
import type { Upstream } from "../../src/ports/upstream.ts";
import { UpstreamError } from "../../src/ports/upstream.ts";
import { bearer, login, rule, usersOf } from "../fixtures/access.ts";
import { ask } from "../fixtures/mirror.ts";

const digest = `sha256:${"a".repeat(64)}`;
const paths = [
  "/v2/team/app/manifests/1",
  `/v2/team/app/manifests/${digest}`,
  `/v2/team/app/blobs/${digest}`,
  "/v2/team/app/tags/list",
  `/v2/team/app/referrers/${digest}`,
  "/v2/_catalog",
];

/** Everything that is asked of it is written down, and fails. */
function witness(name: string, asked: string[]): unknown {
  return new Proxy(
    {},
    {
      get: (_, key) => (): never => {
        asked.push(`${name}.${String(key)}`);
        throw new UpstreamError("server_error", "it was asked");
      },
    },
  );
}

/** What an upstream says to whom it knows nothing of, or refuses: whatever is asked. */
type Says = { readonly kind: "denied"; readonly status?: 401 } | { readonly kind: "absent" };

/** A listener behind which everything is a witness. `says`: the upstreams let callers prove themselves, and say this. */
async function setUp(t: Test, gate: Gate, says?: Says) {
  const asked: string[] = [];
  const proofs: string[] = [];
  const answer = async (key: string): Promise<Says | undefined> => {
    proofs.push(key);
    return says;
  };
  const prover = new Proxy({}, { get: (_, key) => () => answer(String(key)) });
  const far = (name: string, more: Partial<Routing>): Routing => ({
    upstream: {
      name,
      forwarding: () => witness("upstream", asked),
      forCaller: () => prover,
    } as unknown as Upstream,
    passthrough: says !== undefined,
    namespaces: ["far.test"],
    hosts: [],
    library: false,
    allow: [],
    deny: ["**:secret*"],
    ...more,
  });
  const ports = ["blobs", "manifests", "confirmations", "listings", "index", "denied", "pool"];
  const options = {
    ...Object.fromEntries(ports.map((name) => [name, witness(name, asked)])),
    router: new Router([
      far("far", { next: { upstream: "hub", on: ["absent", "denied", "failure"] } }),
      far("hub", { namespaces: [] }),
    ]),
    gate,
    push: () => witness("push", asked),
    coldFills: new Map(),
    answers: openAnswers(defaultLimits),
    pseudonym: "entrepot-test",
    catalog: true,
    readiness: () => 200,
    unexpected: (error: unknown) => {
      throw error;
    },
  } as unknown as ServeOptions;
  const listener = new Listener({
    serve: (exchange) => void serve(exchange, options),
    unexpected: options.unexpected,
    pseudonym: "entrepot-test",
    cacheStatus: true,
    onEvent: () => {},
  });
  t.teardown(() => listener.stop());
  const { port } = await listener.listen({ host: "127.0.0.1", port: 0 });
  return { asked, proofs, url: { hostname: "127.0.0.1", port: String(port) } };
}

function named(users: Record<string, string>, rules: Parameters<typeof rule>[0][]): Gate {
  const verify = async (password: Buffer): Promise<boolean> => password.toString().endsWith("-pw");
  // Wrong passwords are forgotten at once.
  let now = 0;
  const clock = (): number => (now += 2_000);
  const passwords = new Passwords({
    directory: new HtpasswdUsers(usersOf(users), verify),
    running: 2,
    clock,
  });
  return new Gate({ rules: new AccessRules(rules.map(rule)), passwords });
}

const users = { alice: "alice-pw", bob: "bob-pw" };

t.test("what is refused is looked up nowhere, what is allowed is", async (t) => {
  const gate = named(users, [
    { users: ["alice"], verbs: ["pull", "list", "push", "delete"], repositories: ["team/**"] },
  ]);
  const { asked, url } = await setUp(t, gate);
  const writes = [
    ["PUT", "/v2/team/app/manifests/1"],
    ["DELETE", `/v2/team/app/manifests/${digest}`],
    ["DELETE", `/v2/team/app/blobs/${digest}`],
    ["POST", "/v2/team/app/blobs/uploads/"],
    ["PATCH", "/v2/team/app/blobs/uploads/session"],
    ["GET", "/v2/team/app/blobs/uploads/session"],
  ] as const;
  const reads = paths.flatMap((path) => [
    ["GET", path] as const,
    ["HEAD", path] as const,
    ["GET", `${path}?ns=far.test`] as const,
    ["GET", `/far${path}`] as const,
    ["GET", `/hub${path}`] as const,
  ]);
  const strangers = [undefined, login("alice", "wrong"), login("nobody", "x-pw"), login("bob", "bob-pw")];
  for (const [method, path] of [...reads, ...writes])
    for (const [at, header] of strangers.entries()) {
      const { status } = await ask(url, method, path, {
        ...header,
        range: "bytes=0-9",
        "entrepot-node": "peer",
      });
      t.equal(status, at < 3 ? 401 : 403, `${method} ${path}`);
    }
  t.same(asked, []);
  for (const [method, path] of [...reads, ...writes]) {
    asked.length = 0;
    const { status } = await ask(url, method, path, login("alice", "alice-pw"));
    t.ok(status >= 500, `${method} ${path}: ${status}`);
    t.not(asked.length, 0, `${method} ${path} is looked up`);
  }
});

t.test("no upstream is asked next that the caller may not read, nor one behind a refusal", async (t) => {
  const onlyFirst = await setUp(t, named(users, [{ upstreams: ["far"] }]));
  const first = await ask(onlyFirst.url, "GET", paths[0] as string, login("alice", "alice-pw"));
  t.equal(first.status, 502, "what the first says");
  t.equal(onlyFirst.asked.length, 1);
  const onlyNext = await setUp(t, named(users, [{ upstreams: ["hub"] }]));
  const next = await ask(onlyNext.url, "GET", paths[0] as string, login("alice", "alice-pw"));
  t.equal(next.status, 403, "the same name may mean something else there");
  t.same(onlyNext.asked, []);
  const direct = await ask(onlyNext.url, "GET", `/hub${paths[0]}`, login("alice", "alice-pw"));
  t.equal(direct.status, 502);
});

for (const says of [{ kind: "denied" }, { kind: "denied", status: 401 }, { kind: "absent" }] as const)
  t.test(`what upstream refuses to a caller (${JSON.stringify(says)}) is looked up nowhere`, async (t) => {
    const proved = new ProvedRights({ lifetime: 300_000, clock: Date.now });
    const { asked, proofs, url } = await setUp(t, new Gate({ rules: new AccessRules([]), proved }), says);
    const status = says.kind === "absent" ? 404 : (says.status ?? 403);
    for (const path of paths)
      for (const [method, target] of [
        ["GET", path],
        ["HEAD", path],
        ["GET", `${path}?ns=far.test`],
        ["GET", `/hub${path}`],
      ] as const) {
        const header = { range: "bytes=0-9", "entrepot-node": "peer" };
        t.equal((await ask(url, method, target, header)).status, 401, `${method} ${target} by nobody`);
        const answer = await ask(url, method, target, { ...header, ...login("alice", "alice-pw") });
        t.equal(answer.status, status, `${method} ${target}`);
        t.notOk(answer.headers["cache-status"]);
      }
    t.same(asked, []);
    t.match(new Set(proofs), new Set(says.kind === "denied" && "status" in says ? [] : ["headManifest"]));
    t.ok(proofs.length > 0);
  });

t.test("a token that is not enough looks nothing up either", async (t) => {
  const now = () => 1_000_000;
  const own = new OwnTokens({
    key: fixedSecret(makeTokenKey()),
    audience: "entrepot",
    lifetime: 300_000,
    stamp: () => undefined,
    clock: now,
    steady: now,
  });
  const bearerTokens = new BearerTokens({ prove: (token) => own.prove(token), clock: now, steady: now });
  const rules = new AccessRules([
    rule({ users: ["alice"], repositories: ["team/**"], verbs: ["pull", "list", "push", "delete"] }),
    rule({ anonymous: true, repositories: ["public/**"] }),
  ]);
  const service = { service: "entrepot", realm: "https://mirror/v2/token" };
  const gate = new Gate({ rules, tokens: { bearer: bearerTokens, service, own } });
  const { asked, url } = await setUp(t, gate);
  const elsewhere = [{ type: "repository", name: "team/other", actions: ["*"] }];
  const issued = await Promise.all([
    own.issue(undefined, undefined),
    own.issue({ name: "alice" }, elsewhere),
    own.issue({ name: "alice" }, []),
    own.issue({ name: "bob" }, undefined),
  ]);
  for (const path of paths)
    for (const method of ["GET", "HEAD"])
      for (const [at, { token }] of issued.entries()) {
        // Everybody may list something, bob and the anonymous what is public.
        if (path === "/v2/_catalog" && (at === 0 || at === 3)) continue;
        const { status } = await ask(url, method, path, { ...bearer(token), range: "bytes=0-9" });
        t.equal(status, at < 3 ? 401 : 403, `${method} ${path} ${at}`);
      }
  t.same(asked, []);
});
