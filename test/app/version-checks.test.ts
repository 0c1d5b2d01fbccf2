import t, { type Test } from "tap";
import { checkVersions, VersionWatch } from "../../src/app/version-checks.ts";
import type { UpstreamConfig } from "../../src/config/config.ts";
import type { Notice } from "../../src/ports/event.ts";
import { Secret } from "../../src/ports/secret.ts";
import { basicAuth, upstreamConfig } from "../fixtures/connected-upstream.ts";
import { ManualClock } from "../fixtures/manual-time.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

t.test("one line for each upstream with which something is wrong, in their order", async (t) => {
  const registry = await startUpstream(t);
  const of = (name: string, password: string) =>
    upstreamConfig(registry.url, { name, auth: basicAuth("ci", password) });
  const lines = await checkVersions([of("a", "wrong"), of("b", registry.password), of("c", "wrong")]);
  t.match(lines, [/^upstream a refused our account/, /^upstream c refused our account/]);
});

t.test("what cannot be asked at all is told, too", async (t) => {
  const registry = await startUpstream(t);
  const tls = { cert: "no certificate", key: new Secret("no key") };
  const lines = await checkVersions([upstreamConfig(registry.url, { tls }), upstreamConfig(registry.url)]);
  t.match(lines, [/^upstream main was not checked: /]);
});

/** A watch over one registry, and what it tells. */
async function watched(t: Test, change: (config: UpstreamConfig) => UpstreamConfig = (config) => config) {
  const registry = await startUpstream(t);
  const account = basicAuth(registry.username, registry.password);
  let config = change(upstreamConfig(registry.url, { name: "hub", auth: account }));
  const clock = new ManualClock();
  const notices: Notice[] = [];
  let available = true;
  const watch = new VersionWatch({
    upstreams: () => [config],
    available: () => available,
    notices: (notice) => notices.push(notice),
    steady: clock.read,
    signal: new AbortController().signal,
  });
  return {
    registry,
    clock,
    notices,
    watch,
    asked: () => registry.requests.length,
    answered: (status: number) =>
      watch.onNotice({
        kind: "upstream_request",
        upstream: "hub",
        type: "manifest",
        method: "GET",
        status,
        ttfbMs: 1,
      }),
    reload: (next: UpstreamConfig) => {
      config = next;
    },
    config: () => config,
    lose: () => {
      available = false;
    },
  };
}

t.test(
  "an upstream is asked for /v2/ at the start, and every minute in which it has not answered well",
  async (t) => {
    const { watch, asked, answered, clock, notices, lose } = await watched(t);
    await watch.look();
    t.equal(asked(), 1);
    t.strictSame(notices, [{ kind: "upstream_check", upstream: "hub", trouble: undefined, changed: true }]);
    clock.advance(30_000);
    answered(200);
    clock.advance(30_000);
    await watch.look();
    t.equal(asked(), 1, "it has answered half a minute ago");
    clock.advance(30_000);
    answered(404);
    await watch.look();
    t.equal(asked(), 2, "404 shows no registry");
    t.match(notices.at(-1), { changed: false });
    clock.advance(60_000);
    lose();
    await watch.look();
    t.equal(asked(), 2, "probes ask it already");
  },
);

t.test("a path where everything is 404 is told without traffic, and once", async (t) => {
  const { watch, clock, notices, answered } = await watched(t, (config) => ({
    ...config,
    url: new URL("/elsewhere", config.url),
  }));
  await watch.look();
  t.match(notices, [{ trouble: { code: "no_registry", message: /set its url to/ }, changed: true }]);
  clock.advance(60_000);
  await watch.look();
  t.match(notices[1], { trouble: { code: "no_registry" }, changed: false });
  answered(200);
  clock.advance(60_000);
  await watch.look();
  t.match(notices[2], { trouble: undefined, changed: true }, "what gives content is a registry, /v2/ or not");
});

t.test(
  "an account that is refused is tried four times an hour, and at once when it was changed",
  async (t) => {
    const { watch, clock, notices, reload, config, registry } = await watched(t, (config) => ({
      ...config,
      auth: basicAuth("ci", "wrong"),
    }));
    for (let minute = 0; minute < 60; minute++) {
      await watch.look();
      clock.advance(60_000);
    }
    t.equal(notices.length, 4);
    t.match(notices, [{ trouble: { code: "auth" } }]);
    reload({ ...config(), auth: basicAuth(registry.username, registry.password) });
    await watch.look();
    t.match(notices.at(-1), { trouble: undefined, changed: true });
  },
);
