// Registries that do not say with every refusal how they want to be asked, or say it in a way of their own.
import t from "tap";
import { found, repository, tagged, upstreamError } from "../../fixtures/connected-upstream.ts";
import type { UpstreamRequest } from "../../fixtures/scripted-upstream.ts";
import { basic, other, startTokenUpstream } from "../../fixtures/token-upstream.ts";

const anonymous = { auth: { kind: "none" } } as const;
const isProved = ({ headers }: UpstreamRequest) => headers.authorization?.startsWith("Bearer ");

for (const [who, config] of [
  ["anonymous", anonymous],
  ["an account", {}],
] as const)
  for (const status of [401, 403, 404])
    t.test(`the challenge stands at /v2/ only, content answers a bare ${status}: ${who}`, async (t) => {
      const { head, registry, tokens, seen, upstream } = await startTokenUpstream(t, { config });
      tokens.open.add(repository).add(other);
      registry.fault((request) =>
        request.kind === "ping" || isProved(request) ? undefined : { status, headers: {} },
      );
      const first = config === anonymous ? "nothing" : basic;
      t.match(await head(), { kind: "found" });
      t.same(seen(), [first, first, "Bearer"], "the refused one, /v2/, the same with a token");
      t.match(await head("1", other), { kind: "found" });
      t.match(await upstream.getManifest(repository, tagged("none")), { kind: "absent" });
      t.equal(registry.count({ kind: "ping" }), 1);
      t.equal(
        registry.count((request) => request.kind !== "ping" && !isProved(request)),
        1,
      );
    });

t.test("what /v2/ accepts is not asked about again for ten minutes", async (t) => {
  for (const config of [{}, anonymous]) {
    const given = { registry: { anonymous: config === anonymous }, config };
    const { registry, clock, upstream } = await startTokenUpstream(t, given);
    registry.bearer = undefined;
    const ask = () => upstream.getManifest(repository, tagged("none"));
    for (let round = 0; round < 3; round++) t.match(await ask(), { kind: "absent" });
    t.equal(registry.count({ kind: "ping", status: 200 }), 1);
    t.equal(registry.count(), 4);
    clock.advance(10 * 60_000);
    t.match(await ask(), { kind: "absent" });
    t.equal(registry.count({ kind: "ping", status: 200 }), 2);
  }
});

t.test("a challenge at /v2/ that leads nowhere changes no answer", async (t) => {
  for (const [what, token, ping] of [
    ["no token for strangers", { status: 401 }, undefined],
    ["a token server that hangs up", { reset: true }, undefined],
    ["a token server that may not be asked", {}, "https://tokens.example.net/token"],
    ["no answer", {}, { reset: true }],
  ] as const) {
    const { head, registry, tokens } = await startTokenUpstream(t, { config: anonymous });
    tokens.fault = () => token;
    registry.fault(({ kind, reference }) => {
      if (kind !== "ping") return { status: reference === "1" ? 404 : 403, headers: {} };
      if (typeof ping !== "string") return ping;
      return { status: 401, headers: { "www-authenticate": `Bearer realm="${ping}"` } };
    });
    t.match(await head("1"), { kind: "absent" }, what);
    t.match(await head("2"), { kind: "denied" }, what);
    t.equal(registry.count({ kind: "ping" }) > 0, true);
  }
});

t.test("a scope that stands for any repository is not asked for", async (t) => {
  for (const example of [
    "repository:user/image:pull",
    "repository:samalba/my-app:pull,push",
    "repository:*:pull",
  ]) {
    const { head, registry, tokens } = await startTokenUpstream(t);
    registry.fault((request) => {
      const challenge = tokens.challenge(request.headers.authorization, String(request.repository));
      if (challenge === undefined) return undefined;
      return { status: 401, headers: { "www-authenticate": challenge.replace(/repository:[^"]*/, example) } };
    });
    for (const name of [repository, other]) t.match(await head("1", name), { kind: "found" }, example);
    t.same(
      tokens.requests.map(({ fields }) => fields.get("scope")),
      [`repository:${repository}:pull`, `repository:${other}:pull`],
    );
  }
});

t.test("a scope by another name is asked for when our own does not do, and remembered", async (t) => {
  for (const refusesOwn of [false, true]) {
    const given = { registry: { anonymous: true } };
    const { head, registry, tokens, clock } = await startTokenUpstream(t, given);
    registry.bearer = undefined;
    registry.fault(({ headers }) => {
      const challenge = tokens.challenge(headers.authorization, "a/name/behind-a-gateway");
      return challenge === undefined
        ? undefined
        : { status: 401, headers: { "www-authenticate": challenge } };
    });
    const own = `repository:${repository}:pull`;
    const named = "repository:a/name/behind-a-gateway:pull";
    if (refusesOwn)
      tokens.fault = ({ fields }) => (fields.get("scope") === own ? { status: 403 } : undefined);
    else tokens.forbidden.add(repository);
    const scopes = () => tokens.requests.map(({ fields }) => fields.get("scope"));
    t.match(await head(), { kind: "found" });
    t.same(scopes(), [own, named]);
    t.match(await head("2"), { kind: "found" });
    clock.advance(60_000);
    tokens.expireAll();
    t.match(await head(), { kind: "found" });
    t.same(scopes(), [own, named, named]);
  }
});

t.test("scopes of which none does are asked for once each", async (t) => {
  const { head, registry, tokens, clock } = await startTokenUpstream(t);
  const challenge = `Bearer realm="${tokens.realm}",scope="repository:user/image:pull"`;
  registry.fault(() => ({ status: 401, headers: { "www-authenticate": challenge } }));
  for (let round = 1; round <= 3; round++) {
    t.match(await upstreamError(head()), { code: "auth", status: 401 });
    t.ok(registry.count({ kind: "manifest" }) <= 3 * round, `${registry.count()} requests`);
    clock.advance(60_000);
  }
});

t.test("of several challenges the one that can be answered is", async (t) => {
  const elsewhere = 'Bearer realm="https://tokens.example.net/token",service="x"';
  for (const before of [
    elsewhere,
    "Negotiate",
    "NTLM",
    'Digest realm="a, b", nonce="c", qop="auth,auth-int"',
  ])
    for (const glue of [", ", ",", " , , "]) {
      const { head, registry, tokens } = await startTokenUpstream(t);
      const usable = String(tokens.challenge(undefined, repository));
      const values = `${before}${glue}${usable}${glue}Basic realm="x"`;
      registry.fault((request) =>
        isProved(request) ? undefined : { status: 401, headers: { "www-authenticate": values } },
      );
      t.equal(found(await head()).kind, "found", `${before}${glue}`);
      t.equal(tokens.requests.length, 1);
    }
});
