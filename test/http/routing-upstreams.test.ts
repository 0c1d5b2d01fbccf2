// Several upstreams behind one listener: which one is asked, what happens when it does not have it or fails.
import t from "tap";
import type { UpstreamConfig } from "../../src/config/config.ts";
import { plainUpstream } from "../../src/config/config.ts";
import { basicAuth } from "../fixtures/connected-upstream.ts";
import { makeImage } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { type ScriptedUpstream, startUpstream } from "../fixtures/scripted-upstream.ts";
import { startTokenServer } from "../fixtures/token-server.ts";

function second(name: string, upstream: ScriptedUpstream, routing: Partial<UpstreamConfig> = {}) {
  const plain = plainUpstream(name, upstream.url);
  return {
    ...plain,
    auth: basicAuth(upstream.username, upstream.password),
    ...routing,
  };
}

t.test("one repository name, two upstreams, two images: neither is taken for the other", async (t) => {
  const [corp, hub] = [await startUpstream(t), await startUpstream(t)];
  const images = {
    corp: makeImage({ layers: [10], seed: "corp" }),
    hub: makeImage({ layers: [10], seed: "hub" }),
  };
  corp.addImage("library/app", "1", images.corp);
  hub.addImage("library/app", "1", images.hub);
  const mirror = await startMirror(t, corp, {
    more: [second("hub", hub, { namespaces: ["docker.io"], component: "docker.io", library: true })],
  });
  const digestOf = async (path: string): Promise<string | undefined> =>
    (await mirror.get(path)).headers["docker-content-digest"];
  for (let round = 0; round < 2; round++) {
    t.equal(await digestOf("/v2/library/app/manifests/1"), images.corp.digest);
    t.equal(await digestOf("/v2/library/app/manifests/1?ns=docker.io"), images.hub.digest);
    t.equal(await digestOf("/hub/v2/app/manifests/1"), images.hub.digest);
    t.equal(await digestOf("/v2/docker.io/app/manifests/1?ns=docker.io"), images.hub.digest);
  }
  t.equal(corp.count(), 1);
  t.equal(hub.count(), 1);
  const answered = await mirror.get("/v2/library/app/manifests/1?ns=docker.io");
  t.equal(answered.headers["oci-namespace"], "docker.io");
  const unknown = await mirror.get("/v2/library/app/manifests/1?ns=quay.example.com");
  t.equal(unknown.status, 404);
  t.match(JSON.parse(unknown.body.toString()), { errors: [{ code: "NAME_UNKNOWN" }] });
  t.equal(unknown.headers["oci-namespace"], undefined);
});

t.test("a layer of one upstream is not readable through the other's repositories", async (t) => {
  const [corp, hub] = [await startUpstream(t), await startUpstream(t)];
  const digest = corp.addBlob("team/app", Buffer.from("private"));
  hub.addImage("team/app", "1", makeImage({ layers: [10] }));
  const mirror = await startMirror(t, corp, { more: [second("hub", hub)] });
  t.equal((await mirror.get(`/v2/team/app/blobs/${digest}`)).status, 200);
  t.equal((await mirror.get(`/hub/v2/team/app/blobs/${digest}`)).status, 404);
});

t.test("next: asked on 404, or on a failure, as configured; a refusal passes nothing on", async (t) => {
  const [corp, hub] = [await startUpstream(t), await startUpstream(t)];
  const image = makeImage({ layers: [100] });
  hub.addImage("team/app", "1", image);
  const mirror = await startMirror(t, corp, {
    upstream: { next: { upstream: "hub", on: ["absent"] } },
    more: [second("hub", hub)],
  });
  t.equal((await mirror.get("/v2/team/app/manifests/1")).status, 200);
  t.equal((await mirror.get(`/v2/team/app/blobs/${image.layers[0]?.digest}`)).status, 200);
  t.equal((await mirror.get("/v2/none/manifests/1")).status, 404, "nobody has it");
  const asked = hub.count();
  // Where the account is proved it is accepted.
  corp.fault(({ kind }) => (kind === "ping" ? undefined : { status: 403 }));
  t.equal((await mirror.get("/v2/other/manifests/1")).status, 403);
  t.equal(hub.count(), asked);
  corp.fault(() => ({ status: 500 }));
  t.equal((await mirror.get("/v2/another/manifests/1")).status, 502);
  t.equal(hub.count(), asked, "not on failures");
});

t.test("next on failure: pulls go on while the first upstream is down", async (t) => {
  const [corp, hub] = [await startUpstream(t), await startUpstream(t)];
  const image = makeImage({ layers: [100] });
  hub.addImage("team/app", "1", image);
  const mirror = await startMirror(t, corp, {
    upstream: { next: { upstream: "hub", on: ["failure"] } },
    more: [second("hub", hub)],
  });
  t.equal((await mirror.get("/v2/team/app/manifests/1")).status, 404, "its 404 is believed");
  await corp.stop();
  t.equal((await mirror.get(`/v2/team/app/manifests/${image.digest}`)).status, 200);
  t.equal((await mirror.get(`/v2/team/app/blobs/${image.layers[0]?.digest}`)).status, 200);
});

t.test(
  "next on denied: 401 and 403 pass on, for everything a client asks; other refusals do not",
  async (t) => {
    const [corp, hub] = [await startUpstream(t), await startUpstream(t)];
    const image = makeImage({ layers: [100] });
    hub.addImage("team/app", "1", image);
    const tokens = await startTokenServer(t);
    tokens.forbidden.add("team/app");
    const mirror = await startMirror(t, corp, {
      upstream: { next: { upstream: "hub", on: ["denied"] }, tokenRealms: [tokens.realm.host] },
      more: [{ ...second("hub", hub), allow: ["team/**"] }],
    });
    const blob = `/v2/team/app/blobs/${image.layers[0]?.digest}`;
    for (const bearer of [undefined, tokens]) {
      corp.bearer = bearer;
      const off = corp.fault(({ kind }) =>
        kind === "ping" || bearer !== undefined ? undefined : { status: 403 },
      );
      for (const path of ["/v2/team/app/manifests/1", blob, "/v2/team/app/tags/list"])
        t.equal((await mirror.get(path)).status, 200, path);
      t.equal((await mirror.ask("HEAD", blob)).status, 200);
      off();
    }
    corp.bearer = undefined;
    const asked = hub.count();
    corp.fault(() => ({ status: 451 }));
    t.equal((await mirror.get("/v2/team/app/manifests/2")).status, 451);
    corp.fault(() => ({ status: 404 }));
    t.equal((await mirror.get("/v2/team/app/manifests/3")).status, 404, "and what is absent is believed");
    corp.fault(() => ({ status: 500 }));
    t.equal((await mirror.get("/v2/team/app/manifests/4")).status, 502);
    t.equal(hub.count(), asked);
  },
);

t.test("what may not come from the next upstream is answered as the one before answered", async (t) => {
  const [corp, hub] = [await startUpstream(t), await startUpstream(t)];
  hub.addImage("team/app", "1", makeImage({ layers: [100] }));
  const mirror = await startMirror(t, corp, {
    upstream: { next: { upstream: "hub", on: ["absent", "denied", "failure"] } },
    more: [{ ...second("hub", hub), allow: ["library/**"] }],
  });
  const body = '{"errors":[{"code":"DENIED","message":"ask the team"}]}';
  for (const [fault, status] of [
    [{ status: 403, body, headers: { "content-type": "application/json" } }, 403],
    [{ status: 404 }, 404],
    [{ status: 500 }, 502],
  ] as const) {
    const off = corp.fault(({ kind }) => (kind === "ping" ? undefined : fault));
    const answer = await mirror.get(`/v2/team/app/manifests/${status}`);
    t.equal(answer.status, status);
    if (status === 403) t.match(answer.body.toString(), /ask the team/);
    off();
  }
  t.equal(hub.count(), 0);
  t.notOk(mirror.lines.some(({ upstream }) => upstream === "hub"));
});

t.test("what is not allowed is 403 and asks nobody", async (t) => {
  const corp = await startUpstream(t);
  corp.addImage("secret/app", "1", makeImage({ layers: [10] }));
  const mirror = await startMirror(t, corp, { upstream: { deny: ["secret/**"] } });
  for (const path of ["/v2/secret/app/manifests/1", "/v2/secret/app/tags/list"]) {
    const answer = await mirror.get(path);
    t.equal(answer.status, 403, path);
    t.match(JSON.parse(answer.body.toString()), { errors: [{ code: "DENIED" }] });
  }
  t.equal(corp.count(), 0);
});

t.test("a repository prefix stands before every name upstream, and in no name here", async (t) => {
  const corp = await startUpstream(t);
  const image = makeImage({ layers: [10] });
  corp.addImage("docker-local/team/app", "1", image);
  const mirror = await startMirror(t, corp, { upstream: { repositoryPrefix: "docker-local" } });
  t.equal((await mirror.get("/v2/team/app/manifests/1")).status, 200);
  t.equal((await mirror.get(`/v2/team/app/blobs/${image.layers[0]?.digest}`)).status, 200);
  t.match(JSON.parse((await mirror.get("/v2/team/app/tags/list")).body.toString()), {
    name: "team/app",
    tags: ["1"],
  });
  t.match(JSON.parse((await mirror.get("/v2/_catalog")).body.toString()), { repositories: ["team/app"] });
});

t.test("404 is remembered for ten seconds, but not for tags of signatures", async (t) => {
  let now = Date.parse("2026-01-01T00:00:00Z");
  const corp = await startUpstream(t);
  const mirror = await startMirror(t, corp, { clock: () => now });
  const image = makeImage({ layers: [10] });
  const signature = `sha256-${image.digest.slice("sha256:".length)}.sig`;
  const paths = ["manifests/1", `manifests/${image.digest}`, `blobs/${image.config.digest}`];
  for (let i = 0; i < 3; i++) {
    for (const path of paths) t.equal((await mirror.get(`/v2/team/app/${path}`)).status, 404);
    t.equal((await mirror.get(`/v2/team/app/manifests/${signature}`)).status, 404);
  }
  t.equal(corp.count({ reference: signature }), 3);
  const content = corp.requests.filter(({ kind }) => kind !== "ping");
  t.equal(content.length, 3 + paths.length);
  t.equal(mirror.lines.filter(({ result }) => result === "negative").length, 2 * paths.length);
  corp.addImage("team/app", "1", image);
  now += 10_001;
  t.equal((await mirror.get("/v2/team/app/manifests/1")).status, 200);
});

t.test("what another cache answers is as old here as it was there", async (t) => {
  let now = Date.parse("2026-01-01T00:00:00Z");
  const corp = await startUpstream(t);
  corp.addImage("team/app", "1", makeImage({ layers: [10] }));
  corp.fault(() => ({ headers: { age: "50" } }));
  const mirror = await startMirror(t, corp, { clock: () => now });
  t.equal((await mirror.get("/v2/team/app/manifests/1")).headers.age, "50");
  now += 9_999;
  t.equal((await mirror.get("/v2/team/app/manifests/1")).headers.age, "59");
  t.equal(corp.count(), 1);
  now += 1;
  await mirror.get("/v2/team/app/manifests/1");
  t.equal(corp.count(), 2, "60 s after the origin said so, whoever it was told to");
});
