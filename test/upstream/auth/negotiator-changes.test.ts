// What the negotiator does when upstream, its token server or our password changes while we run.
import { renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { UpstreamConfig } from "../../../src/config/config.ts";
import { secretFile } from "../../../src/config/secret-file.ts";
import { Secret } from "../../../src/ports/secret.ts";
import { connectUpstream, repository, tagged, upstreamError } from "../../fixtures/connected-upstream.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";
import { startUpstream } from "../../fixtures/scripted-upstream.ts";
import { startTokenServer } from "../../fixtures/token-server.ts";
import { basic, image, other, startTokenUpstream } from "../../fixtures/token-upstream.ts";

t.test("an upstream that changes from Basic to tokens while the mirror runs, and back", async (t) => {
  const { tokens, head, registry, seen } = await startTokenUpstream(t);
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

t.test("a token server that has moved is found again", async (t) => {
  const { tokens: first, registry, clock, seen } = await startTokenUpstream(t);
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

t.test("after a refused password upstream is not asked anonymously", async (t) => {
  const { tokens, head, registry } = await startTokenUpstream(t);
  registry.fault(({ kind, headers }) =>
    kind === "manifest" && headers.authorization === undefined ? { status: 404 } : undefined,
  );
  tokens.password = "changed";
  for (let round = 0; round < 3; round++) t.match(await upstreamError(head()), { code: "auth" });
  tokens.password = "s3cret";
  t.match(await head(), { kind: "found" });
  t.same(registry.count({ kind: "manifest" }), 2, "the first, and when there was a token");
});

t.test("an upstream that changes to Basic while its token server is gone", async (t) => {
  const { tokens, head, registry, clock } = await startTokenUpstream(t);
  await head();
  registry.bearer = undefined;
  await tokens.stop();
  clock.advance(3_600_000);
  t.match(await upstreamError(head()), { code: "unreachable" });
  t.match(await head(), { kind: "found" });
});

t.test("a token server that comes back is used again, whatever upstream says meanwhile", async (t) => {
  const { tokens, head, registry, clock } = await startTokenUpstream(t);
  await head();
  clock.advance(3_600_000);
  tokens.fault = () => ({ status: 503 });
  registry.fault(({ kind }) => (kind === "ping" ? { status: 200 } : undefined));
  for (let round = 0; round < 2; round++) t.match(await upstreamError(head()), { code: "server_error" });
  tokens.fault = () => undefined;
  t.match(await head(), { kind: "found" });
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
    const { tokens, registry, clock } = await startTokenUpstream(t);
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
  const { tokens, registry, clock } = await startTokenUpstream(t);
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

t.test("a password file that is gone is reported once, and the last password is used", async (t) => {
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
