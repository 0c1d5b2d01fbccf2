// How credentials and tokens reach an upstream, seen from outside: what it and its token server were asked.
import { inspect } from "node:util";
import t from "tap";
import {
  basicAuth,
  drain,
  found,
  idle,
  repository,
  tagged,
  upstreamError,
} from "../../fixtures/connected-upstream.ts";
import { basic, layer, other, startTokenUpstream } from "../../fixtures/token-upstream.ts";

const never = new AbortController().signal;

t.test("three tags and a layer of one repository need one token", async (t) => {
  const { tokens, head, seen, upstream } = await startTokenUpstream(t);
  for (const tag of ["1", "2", "3"]) t.match(await head(tag), { kind: "found" });
  const blob = found(await upstream.openBlob(repository, layer.digest, 0, never));
  t.ok((await drain(blob.body)).bytes.equals(layer.bytes));
  t.equal(tokens.requests.length, 1);
  const [asked] = tokens.requests;
  t.match(asked, { method: "GET", authorization: basic });
  t.same(
    [...(asked?.fields ?? [])],
    [
      ["service", "registry.example.com"],
      ["scope", "repository:team/app:pull"],
    ],
  );
  t.same(
    seen(),
    [basic, "Bearer", "Bearer", "Bearer", "Bearer"],
    "the password once, before anything was learnt",
  );
});

t.test("a second repository needs a token of its own, and no 401 to know", async (t) => {
  const { tokens, head, registry } = await startTokenUpstream(t);
  await head();
  await head("1", other);
  t.equal(registry.count({ status: 401 }), 1);
  t.same(
    tokens.requests.map(({ fields }) => fields.get("scope")),
    ["repository:team/app:pull", "repository:team/other:pull"],
  );
});

t.test("50 cold requests at once make one token request per repository", async (t) => {
  const { tokens, head } = await startTokenUpstream(t);
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, at) => head("1", at % 2 === 0 ? repository : other)),
  );
  t.ok(answers.every(({ kind }) => kind === "found"));
  t.equal(tokens.requests.length, 2);
});

t.test("without an account: nothing at first, then an anonymous token", async (t) => {
  const { tokens, head, seen } = await startTokenUpstream(t, { config: { auth: { kind: "none" } } });
  tokens.open.add(repository);
  for (const tag of ["1", "2"]) t.match(await head(tag), { kind: "found" });
  t.same(seen(), ["nothing", "Bearer", "Bearer"]);
  t.equal(tokens.requests.length, 1);
  t.equal(tokens.requests[0]?.authorization, undefined);
});

t.test("a token is renewed shortly before its end, without a 401", async (t) => {
  const { tokens, head, registry, clock } = await startTokenUpstream(t, { tokens: { lifetime: 300 } });
  await head();
  clock.advance(269_000);
  await head();
  t.equal(tokens.requests.length, 1);
  clock.advance(2_000);
  await head();
  t.equal(tokens.requests.length, 2);
  t.equal(registry.count({ status: 401 }), 1);
});

t.test("a token that ends in the middle of a pull costs one more request, and only itself", async (t) => {
  const { tokens, head, upstream, registry } = await startTokenUpstream(t);
  await head();
  await head("1", other);
  tokens.expireAll();
  const blob = found(await upstream.openBlob(repository, layer.digest, 0, never));
  t.ok((await drain(blob.body)).bytes.equals(layer.bytes));
  t.equal(tokens.requests.length, 3, "one new token, for this repository");
  t.equal(registry.count({ status: 401 }), 2);
});

t.test("many requests whose token was refused fetch one new token", async (t) => {
  const { tokens, head } = await startTokenUpstream(t);
  await head();
  tokens.expireAll();
  const answers = await Promise.all(Array.from({ length: 30 }, () => head()));
  t.ok(answers.every(({ kind }) => kind === "found"));
  t.equal(tokens.requests.length, 2);
});

t.test("tokens that are refused again and again are an error, after one try more", async (t) => {
  const { tokens, head, registry } = await startTokenUpstream(t);
  await head();
  registry.forget();
  registry.fault(() => ({
    status: 401,
    headers: { "www-authenticate": tokens.challenge("Bearer none", repository) },
  }));
  const error = await upstreamError(head());
  t.match(error, { code: "auth", status: 401 });
  t.equal(registry.count(), 2);
  t.equal(tokens.requests.length, 2);
});

t.test("tokens are preferred where both are offered", async (t) => {
  const { tokens, head, registry } = await startTokenUpstream(t);
  const both = ['Basic realm="x"', String(tokens.challenge(undefined, repository))];
  registry.fault(({ headers }) =>
    headers.authorization === basic ? { status: 401, headers: { "www-authenticate": both } } : undefined,
  );
  t.match(await head(), { kind: "found" });
  t.equal(tokens.requests.length, 1);
});

t.test("a token server on another host is not asked", async (t) => {
  for (const tokenRealms of [[], ["auth.example.com"]]) {
    const { tokens, head, registry, of } = await startTokenUpstream(t, { config: { tokenRealms } });
    const error = await upstreamError(head());
    t.match(error, { code: "auth", message: /add "127\.0\.0\.1:\d+" to tokenRealms/ });
    t.equal(tokens.requests.length, 0, "no request");
    t.equal(registry.count(), 1);
    t.match(of("upstream_error"), [{ code: "auth" }]);
  }
});

t.test("a refused token server leaves no connection behind", async (t) => {
  const { tokens, registry, upstream } = await startTokenUpstream(t, {
    config: { tokenRealms: [], maxConnections: 1 },
  });
  const challenge = tokens.challenge(undefined, repository);
  registry.fault(() => ({
    status: 401,
    headers: { "www-authenticate": challenge },
    body: "x".repeat(1_000_000),
  }));
  for (let round = 0; round < 3; round++) {
    t.equal((await upstreamError(upstream.getManifest(repository, tagged("1")))).code, "auth");
  }
  await idle(upstream);
});

t.test("the scope is the challenge's, and is remembered for the repository", async (t) => {
  const { tokens, head, registry } = await startTokenUpstream(t);
  const scope = "repository:prefix/team/app:pull";
  registry.bearer = undefined;
  registry.fault(({ headers }) => {
    if (tokens.challenge(headers.authorization, "prefix/team/app") === undefined) return { status: 200 };
    const challenge = tokens.challenge(headers.authorization, "prefix/team/app");
    return { status: 401, headers: { "www-authenticate": challenge } };
  });
  await head();
  await head();
  t.same(
    tokens.requests.map(({ fields }) => fields.get("scope")),
    [scope],
  );
  t.equal(registry.count({ status: 401 }), 1);
});

t.test("a challenge without a scope asks for pulling from the repository", async (t) => {
  const { tokens, head, registry } = await startTokenUpstream(t);
  registry.fault(({ headers }) =>
    headers.authorization === basic
      ? { status: 401, headers: { "www-authenticate": `Bearer realm="${tokens.realm}"` } }
      : undefined,
  );
  t.match(await head(), { kind: "found" });
  t.same([...(tokens.requests[0]?.fields ?? [])], [["scope", "repository:team/app:pull"]]);
});

t.test("several scopes are several parameters", async (t) => {
  const { tokens, head, registry } = await startTokenUpstream(t);
  const scopes = ["repository:team/app:pull", "repository:team/base:pull"];
  registry.fault(({ headers }) =>
    headers.authorization === basic
      ? {
          status: 401,
          headers: { "www-authenticate": `Bearer realm="${tokens.realm}",scope="${scopes.join(" ")}"` },
        }
      : undefined,
  );
  t.match(await head(), { kind: "found" });
  t.same(tokens.requests[0]?.fields.getAll("scope"), scopes);
});

t.test("a repository our account may not read is denied, not a broken account", async (t) => {
  const { tokens, head, registry, of } = await startTokenUpstream(t);
  tokens.forbidden.add(other);
  await head();
  t.match(await head("1", other), { kind: "denied" });
  t.equal(tokens.requests.length, 2, "a token that has just been made is not made again");
  t.match(await head(), { kind: "found" }, "and says nothing about the others");
  registry.fault(() => ({ status: 403 }));
  t.match(await head(), { kind: "denied" });
  t.same(of("upstream_error"), []);
});

t.test("rights that were given since are found", async (t) => {
  const { tokens, head, clock } = await startTokenUpstream(t);
  tokens.forbidden.add(other);
  t.match(await head("1", other), { kind: "denied" });
  tokens.forbidden.delete(other);
  clock.advance(11_000);
  t.match(await head("1", other), { kind: "found" });
});

t.test("a client that leaves does not wait for the token server", async (t) => {
  const { tokens, head, upstream } = await startTokenUpstream(t);
  const gate = Promise.withResolvers<void>();
  tokens.fault = () => ({ holdUntil: gate.promise });
  const leaving = new AbortController();
  const left = upstream.openBlob(repository, layer.digest, 0, leaving.signal);
  const stayed = head();
  await tokens.until(() => tokens.requests.length === 1);
  leaving.abort(new Error("gone"));
  await t.rejects(left, { message: "gone" });
  gate.resolve();
  t.match(await stayed, { kind: "found" }, "the one that stays gets the token all the same");
  await idle(upstream);
});

t.test(
  "no secret stands in an error, a notice or the upstream, whatever goes wrong with tokens",
  async (t) => {
    const { tokens, head, registry, notices, upstream } = await startTokenUpstream(t, {
      tokens: { password: "another" },
    });
    const errors: unknown[] = [];
    const ask = async () => errors.push(await head().catch((error: unknown) => error));
    await ask();
    tokens.password = "s3cret";
    for (const answer of ["{", { token: 7 }, { token: "se\ncret" }, { access_token: "s3cret" }]) {
      tokens.answer = () => answer;
      tokens.expireAll();
      await ask();
    }
    registry.fault(() => ({
      status: 401,
      headers: { "www-authenticate": 'Bearer realm="https://ci:s3cret@evil.example/s3cret?s3cret"' },
    }));
    await ask();
    t.ok(errors.every((error) => error instanceof Error));
    const printed = inspect([errors, notices, upstream], { depth: 20, showHidden: true });
    const json = JSON.stringify([errors, errors.map((error) => (error as Error).cause), notices]);
    for (const secret of ["s3cret", Buffer.from("ci:s3cret").toString("base64")]) {
      t.notOk(printed.includes(secret), "not when printed");
      t.notOk(json.includes(secret), "not as JSON");
    }
  },
);

t.test("a wrong password is reported as such, with Basic and with tokens", async (t) => {
  const auth = basicAuth("ci", "wrong");
  const { head, registry, tokens, of } = await startTokenUpstream(t, { config: { auth } });
  t.match(await upstreamError(head()), { code: "auth", message: /its token server .* refused our account/ });
  registry.bearer = undefined;
  t.match(await upstreamError(head()), { code: "auth", message: /username and password/ });
  t.equal(of("upstream_error").length, 2);
  t.match(
    tokens.requests.map(({ fields }) => fields.get("scope")),
    [`repository:${repository}:pull`, null],
    "and asked whether it is the account or the repository",
  );
});
