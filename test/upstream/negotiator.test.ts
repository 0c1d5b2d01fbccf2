// How credentials and tokens reach an upstream, seen from outside: what it and its token server were asked.
import { renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";
import t, { type Test } from "tap";
import type { UpstreamConfig } from "../../src/config/config.ts";
import { Secret } from "../../src/config/secret.ts";
import { secretFile } from "../../src/config/secret-file.ts";
import type { Digest } from "../../src/oci/digest.ts";
import type { Repository } from "../../src/oci/name.ts";
import {
  basicAuth,
  connectUpstream,
  drain,
  found,
  idle,
  repository,
  tagged,
  upstreamError,
} from "../fixtures/connected-upstream.ts";
import { makeImage } from "../fixtures/images.ts";
import { ManualClock } from "../fixtures/manual-time.ts";
import { startUpstream, type UpstreamOptions } from "../fixtures/scripted-upstream.ts";
import { startTokenServer, type TokenServerOptions } from "../fixtures/token-server.ts";

const image = makeImage({ layers: [300_000], seed: "negotiator" });
const layer = image.layers[0] as { digest: Digest; bytes: Buffer };
const other = "team/other" as Repository;
const never = new AbortController().signal;
const basic = `Basic ${Buffer.from("ci:s3cret").toString("base64")}`;

interface Given {
  readonly registry?: UpstreamOptions;
  readonly tokens?: TokenServerOptions;
  readonly config?: Partial<UpstreamConfig>;
}

/** A registry that wants tokens, its token server (another port, so it is on the list) and a client, on one clock. */
async function setUp(t: Test, given: Given = {}) {
  const clock = new ManualClock();
  const tokens = await startTokenServer(t, { clock: clock.read, ...given.tokens });
  const registry = await startUpstream(t, { bearer: tokens, ...given.registry });
  for (const tag of ["1", "2", "3"]) registry.addImage(repository, tag, image);
  registry.addImage(other, "1", image);
  const config = { tokenRealms: [tokens.realm.host], ...given.config };
  const connected = connectUpstream(t, registry.url, config, clock.read);
  const head = (tag = "1", name = repository) => connected.upstream.headManifest(name, tagged(tag));
  /** Authorization values the registry got, in order; a token as `Bearer`. */
  const seen = () =>
    registry.requests.map(({ headers }) => headers.authorization?.replace(/^(Bearer) .*/, "$1") ?? "nothing");
  return { clock, tokens, registry, head, seen, ...connected };
}

t.test("three tags and a layer of one repository need one token", async (t) => {
  const { tokens, head, seen, upstream } = await setUp(t);
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
  const { tokens, head, registry } = await setUp(t);
  await head();
  await head("1", other);
  t.equal(registry.count({ status: 401 }), 1);
  t.same(
    tokens.requests.map(({ fields }) => fields.get("scope")),
    ["repository:team/app:pull", "repository:team/other:pull"],
  );
});

t.test("50 cold requests at once make one token request per repository", async (t) => {
  const { tokens, head } = await setUp(t);
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, at) => head("1", at % 2 === 0 ? repository : other)),
  );
  t.ok(answers.every(({ kind }) => kind === "found"));
  t.equal(tokens.requests.length, 2);
});

t.test("without an account: nothing at first, then an anonymous token", async (t) => {
  const { tokens, head, seen } = await setUp(t, { config: { auth: { kind: "none" } } });
  tokens.open.add(repository);
  for (const tag of ["1", "2"]) t.match(await head(tag), { kind: "found" });
  t.same(seen(), ["nothing", "Bearer", "Bearer"]);
  t.equal(tokens.requests.length, 1);
  t.equal(tokens.requests[0]?.authorization, undefined);
});

t.test("a token is renewed shortly before its end, without a 401", async (t) => {
  const { tokens, head, registry, clock } = await setUp(t, { tokens: { lifetime: 300 } });
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
  const { tokens, head, upstream, registry } = await setUp(t);
  await head();
  await head("1", other);
  tokens.expireAll();
  const blob = found(await upstream.openBlob(repository, layer.digest, 0, never));
  t.ok((await drain(blob.body)).bytes.equals(layer.bytes));
  t.equal(tokens.requests.length, 3, "one new token, for this repository");
  t.equal(registry.count({ status: 401 }), 2);
});

t.test("many requests whose token was refused fetch one new token", async (t) => {
  const { tokens, head } = await setUp(t);
  await head();
  tokens.expireAll();
  const answers = await Promise.all(Array.from({ length: 30 }, () => head()));
  t.ok(answers.every(({ kind }) => kind === "found"));
  t.equal(tokens.requests.length, 2);
});

t.test("tokens that are refused again and again are an error, after one try more", async (t) => {
  const { tokens, head, registry } = await setUp(t);
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

t.test("an upstream that goes over from Basic to tokens while we run, and back", async (t) => {
  const { tokens, head, registry, seen } = await setUp(t);
  registry.bearer = undefined;
  await head();
  await head();
  registry.bearer = tokens;
  await head();
  await head();
  t.same(seen(), [basic, basic, basic, "Bearer", "Bearer"]);
  registry.forget();
  registry.bearer = undefined;
  t.match(await head(), { kind: "found" });
  t.match(await head(), { kind: "found" });
  t.same(seen(), ["Bearer", basic, basic]);
});

t.test("tokens are preferred where both are offered", async (t) => {
  const { tokens, head, registry } = await setUp(t);
  const both = ['Basic realm="x"', String(tokens.challenge(undefined, repository))];
  registry.fault(({ headers }) =>
    headers.authorization === basic ? { status: 401, headers: { "www-authenticate": both } } : undefined,
  );
  t.match(await head(), { kind: "found" });
  t.equal(tokens.requests.length, 1);
});

t.test("a token server on another host is not asked", async (t) => {
  for (const tokenRealms of [[], ["auth.example.com"]]) {
    const { tokens, head, registry, of } = await setUp(t, { config: { tokenRealms } });
    const error = await upstreamError(head());
    t.match(error, { code: "auth", message: /add "127\.0\.0\.1:\d+" to tokenRealms/ });
    t.equal(tokens.requests.length, 0, "no request");
    t.equal(registry.count(), 1);
    t.match(of("upstream_error"), [{ code: "auth" }]);
  }
});

t.test("a refused token server leaves no connection behind", async (t) => {
  const { tokens, registry, upstream } = await setUp(t, {
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
  const { tokens, head, registry } = await setUp(t);
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
  const { tokens, head, registry } = await setUp(t);
  registry.fault(({ headers }) =>
    headers.authorization === basic
      ? { status: 401, headers: { "www-authenticate": `Bearer realm="${tokens.realm}"` } }
      : undefined,
  );
  t.match(await head(), { kind: "found" });
  t.same([...(tokens.requests[0]?.fields ?? [])], [["scope", "repository:team/app:pull"]]);
});

t.test("several scopes are several parameters", async (t) => {
  const { tokens, head, registry } = await setUp(t);
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
  const { tokens, head, registry, of } = await setUp(t);
  tokens.forbidden.add(other);
  await head();
  t.same(await head("1", other), { kind: "denied" });
  t.equal(tokens.requests.length, 2, "a token that has just been made is not made again");
  t.match(await head(), { kind: "found" }, "and says nothing about the others");
  registry.fault(() => ({ status: 403 }));
  t.same(await head(), { kind: "denied" });
  t.same(of("upstream_error"), []);
});

t.test("rights that were given since are found", async (t) => {
  const { tokens, head, clock } = await setUp(t);
  tokens.forbidden.add(other);
  t.same(await head("1", other), { kind: "denied" });
  tokens.forbidden.delete(other);
  clock.advance(11_000);
  t.match(await head("1", other), { kind: "found" });
});

t.test("a token server that has moved is found again", async (t) => {
  const { tokens: first, registry, clock, seen } = await setUp(t);
  const second = await startTokenServer(t, { clock: clock.read });
  const tokenRealms = [first.realm.host, second.realm.host];
  const { upstream } = connectUpstream(t, registry.url, { tokenRealms }, clock.read);
  const head = (name = repository) => upstream.headManifest(name, tagged("1"));
  t.match(await head(), { kind: "found" });
  t.match(await head(other), { kind: "found" });
  registry.bearer = second;
  await first.stop();
  clock.advance(3_600_000);
  registry.forget();
  const error = await upstreamError(head());
  t.match(error, { code: "unreachable", message: /its token server 127\.0\.0\.1:\d+ / });
  t.match(await head(), { kind: "found" });
  t.match(await head(other), { kind: "found" });
  t.same(
    registry.requests.map(({ kind }) => kind),
    ["ping", "manifest", "manifest"],
  );
  t.same(seen(), ["nothing", "Bearer", "Bearer"], "and upstream is not sent the password meanwhile");
});

t.test("a refused password is no reason to believe what strangers are told", async (t) => {
  const { tokens, head, registry } = await setUp(t);
  registry.fault(({ kind, headers }) =>
    kind === "manifest" && headers.authorization === undefined ? { status: 404 } : undefined,
  );
  tokens.password = "changed";
  for (let round = 0; round < 3; round++) t.match(await upstreamError(head()), { code: "auth" });
  tokens.password = "s3cret";
  t.match(await head(), { kind: "found" });
  t.same(registry.count({ kind: "manifest" }), 2, "the first, and when there was a token");
});

t.test("an upstream that goes over to Basic while its token server is gone", async (t) => {
  const { tokens, head, registry, clock } = await setUp(t);
  await head();
  registry.bearer = undefined;
  await tokens.stop();
  clock.advance(3_600_000);
  t.match(await upstreamError(head()), { code: "unreachable" });
  t.match(await head(), { kind: "found" });
});

t.test("a token server that comes back is used again, whatever upstream says meanwhile", async (t) => {
  const { tokens, head, registry, clock } = await setUp(t);
  await head();
  clock.advance(3_600_000);
  tokens.fault = () => ({ status: 503 });
  registry.fault(({ kind }) => (kind === "ping" ? { status: 200 } : undefined));
  for (let round = 0; round < 2; round++) t.match(await upstreamError(head()), { code: "server_error" });
  tokens.fault = () => undefined;
  t.match(await head(), { kind: "found" });
});

t.test("who leaves does not wait for the token server", async (t) => {
  const { tokens, head, upstream } = await setUp(t);
  const gate = Promise.withResolvers<void>();
  tokens.fault = () => ({ holdUntil: gate.promise });
  const leaving = new AbortController();
  const left = upstream.openBlob(repository, layer.digest, 0, leaving.signal);
  const stayed = head();
  await tokens.until(() => tokens.requests.length === 1);
  leaving.abort(new Error("gone"));
  await t.rejects(left, { message: "gone" });
  gate.resolve();
  t.match(await stayed, { kind: "found" }, "who stays gets the token all the same");
  await idle(upstream);
});

/** An account whose password stands in a file. */
function accountInFile(path: string, clock: ManualClock): UpstreamConfig["auth"] {
  const parse = (text: string) => (text === "" ? undefined : new Secret(text));
  const password = secretFile({
    path,
    name: "the file",
    initial: new Secret("s3cret"),
    parse,
    clock: clock.read,
  });
  return { kind: "basic", username: "ci", password };
}

for (const scheme of ["Basic", "tokens"] as const) {
  t.test(`a password changed in its file is used without a restart: ${scheme}`, async (t) => {
    const directory = t.testdir({ v1: { p: "s3cret" }, v2: { p: "by link" }, password: "s3cret" });
    const link = (name: string, to: string) => symlinkSync(to, join(directory, name));
    link("..data", "v1");
    link("linked", "..data/p");
    const { tokens, registry, clock } = await setUp(t);
    if (scheme === "Basic") registry.bearer = undefined;
    const change = (password: string) => {
      registry.password = password;
      tokens.password = password;
      tokens.expireAll();
      clock.advance(1_000);
    };
    const pulls = async (path: string) => {
      const config = { auth: accountInFile(join(directory, path), clock), tokenRealms: [tokens.realm.host] };
      const { upstream } = connectUpstream(t, registry.url, config, clock.read);
      return async () => (await upstream.headManifest(repository, tagged("1"))).kind;
    };
    const rewritten = await pulls("password");
    const linked = await pulls("linked");
    t.same([await rewritten(), await linked()], ["found", "found"]);
    writeFileSync(join(directory, "password"), "rewritten");
    change("rewritten");
    t.equal(await rewritten(), "found");
    t.equal((await upstreamError(linked())).code, "auth", "the old one is refused");
    link("..next", "v2");
    renameSync(join(directory, "..next"), join(directory, "..data"));
    change("by link");
    t.equal(await linked(), "found");
  });
}

t.test("a token goes with the account it was made for", async (t) => {
  const path = join(t.testdir({ password: "s3cret" }), "password");
  const { tokens, registry, clock } = await setUp(t);
  const config = { auth: accountInFile(path, clock), tokenRealms: [tokens.realm.host] };
  const { upstream } = connectUpstream(t, registry.url, config, clock.read);
  t.match(await upstream.headManifest(repository, tagged("1")), { kind: "found" });
  writeFileSync(path, "changed");
  tokens.password = "changed";
  clock.advance(1_000);
  t.match(await upstream.headManifest(repository, tagged("1")), { kind: "found" });
  t.equal(tokens.requests.length, 2);
  t.equal(registry.count({ status: 401 }), 1);
});

t.test("a password file that is gone is told once, and the last password used", async (t) => {
  const path = join(t.testdir({ password: "s3cret" }), "password");
  const clock = new ManualClock();
  const registry = await startUpstream(t);
  registry.addImage(repository, "1", image);
  const { upstream, of } = connectUpstream(t, registry.url, { auth: accountInFile(path, clock) }, clock.read);
  for (let round = 0; round < 4; round++) {
    t.match(await upstream.headManifest(repository, tagged("1")), { kind: "found" });
    writeFileSync(path, "");
    clock.advance(1_000);
  }
  t.match(of("secret_problem"), [{ upstream: "main", message: /the file has become empty/ }]);
});

t.test(
  "no secret stands in an error, a notice or the upstream, whatever goes wrong with tokens",
  async (t) => {
    const { tokens, head, registry, notices, upstream } = await setUp(t, { tokens: { password: "another" } });
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

t.test("a wrong password is told as such, by Basic and by tokens", async (t) => {
  const auth = basicAuth("ci", "wrong");
  const { head, registry, tokens, of } = await setUp(t, { config: { auth } });
  t.match(await upstreamError(head()), { code: "auth", message: /its token server .* refused our account/ });
  registry.bearer = undefined;
  t.match(await upstreamError(head()), { code: "auth", message: /username and password/ });
  t.equal(of("upstream_error").length, 2);
  t.equal(tokens.requests.length, 1);
});
