// What a webhook does to what clients get, through the whole mirror: the pull after its answer gets what was pushed,
// while tags live for an hour.
import t, { type Test } from "tap";
import type { UpstreamConfig, WebhooksConfig } from "../../src/config/config.ts";
import { webhookSources } from "../../src/ports/event.ts";
import { fixedSecret, Secret } from "../../src/ports/secret.ts";
import { parseExposition, sampleOf } from "../fixtures/exposition.ts";
import { makeImage } from "../fixtures/images.ts";
import { ManualPause } from "../fixtures/manual-time.ts";
import { type Mirror, startMirror } from "../fixtures/mirror.ts";
import { type ScriptedUpstream, startUpstream } from "../fixtures/scripted-upstream.ts";
import { deleteBodies, pushBodies } from "../fixtures/webhook-bodies.ts";

const secret = "a-secret-of-the-hooks";
const hour = 3_600_000;
const [first, second] = [makeImage({ layers: [10], seed: "1" }), makeImage({ layers: [10], seed: "2" })];
const pushed = { repository: "team/app", tag: "1", digest: second.digest };
const path = "/v2/team/app/manifests/1";

interface Options {
  readonly upstream?: Partial<UpstreamConfig>;
  /** The base path of the registry. */
  readonly base?: string;
  readonly prefetch?: boolean;
  /** Where the registry has the image. */
  readonly repository?: string;
}

/** A mirror that has served the first image under a tag that is the second's by now. */
async function start(t: Test, { base, repository = "team/app", prefetch = false, ...rest }: Options = {}) {
  const upstream = await startUpstream(t, base === undefined ? {} : { path: base });
  const webhooks: WebhooksConfig = {
    secrets: Object.fromEntries(webhookSources.map((source) => [source, fixedSecret(new Secret(secret))])),
    prefetch,
  };
  const cache = { dir: t.testdir() };
  // A machine that is busy for a second is no reason to serve what is stale.
  const { pause } = new ManualPause();
  const mirror = await startMirror(t, upstream, { tags: { ttl: hour }, webhooks, cache, pause, ...rest });
  upstream.addImage(repository, "1", first);
  t.equal(await digestOf(mirror), first.digest);
  upstream.addImage(repository, "1", second);
  t.equal(await digestOf(mirror), first.digest, "the tag is good for an hour");
  return { upstream, mirror };
}

/** A repository of the source's name, whose tag the mirror has served. */
async function pulled(t: Test, mirror: Mirror, upstream: ScriptedUpstream, source: string) {
  const repository = `team/${source}`;
  const at = `/v2/${repository}/manifests/1`;
  upstream.addImage(repository, "1", first);
  t.equal(await digestOf(mirror, at), first.digest);
  return { repository, at };
}

async function digestOf(mirror: Mirror, at = path): Promise<string | undefined> {
  return (await mirror.get(at)).headers["docker-content-digest"];
}

async function send(mirror: Mirror, source: string, body: object, query = ""): Promise<string> {
  const answer = await fetch(new URL(`/hooks/${source}${query}`, mirror.ops), {
    method: "POST",
    headers: { authorization: `Bearer ${secret}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  return `${answer.status} ${(await answer.text()).trim()}`;
}

async function received(mirror: Mirror, source: string, result: string): Promise<number | undefined> {
  const text = await (await fetch(new URL("/metrics", mirror.ops))).text();
  return sampleOf(parseExposition(text), "entrepot_webhooks_received_total", { source, result });
}

t.test("a push, as each source tells it: the next pull gets the new image", async (t) => {
  const { mirror, upstream } = await start(t);
  for (const source of webhookSources)
    await t.test(source, async (t) => {
      const { repository, at } = await pulled(t, mirror, upstream, source);
      upstream.addImage(repository, "1", second);
      t.equal(await digestOf(mirror, at), first.digest, "the tag is good for an hour");
      upstream.forget();
      t.equal(await send(mirror, source, pushBodies[source]({ ...pushed, repository })), "202 applied");
      t.equal(upstream.requests.length, 0, "a webhook fetches nothing");
      t.equal(await digestOf(mirror, at), second.digest);
      t.equal(await received(mirror, source, "applied"), 1);
    });
});

t.test("a delete, as each source tells it: the tag is gone", async (t) => {
  const { mirror, upstream } = await start(t);
  for (const [source, bodyOf] of Object.entries(deleteBodies))
    await t.test(source, async (t) => {
      const { repository, at } = await pulled(t, mirror, upstream, source);
      upstream.removeTag(repository, "1");
      t.equal(await send(mirror, source, bodyOf({ ...pushed, repository })), "202 applied");
      t.equal((await mirror.get(at)).status, 404);
    });
});

t.test("a delete of a digest, which is all that most registries tell, takes its tags along", async (t) => {
  const { mirror, upstream } = await start(t);
  upstream.removeTag("team/app", "1");
  const target = { repository: "team/app", digest: first.digest };
  const body = { events: [{ id: "1", action: "delete", target }] };
  t.equal(await send(mirror, "distribution", body), "202 applied");
  t.equal((await mirror.get(path)).status, 404);
  upstream.addImage("team/app", "1", first);
  await send(mirror, "generic", { ...pushed, action: "push" });
  t.equal(await digestOf(mirror), first.digest, "pushed again, it is there again");
  upstream.forget();
  t.equal(await digestOf(mirror), first.digest);
  t.equal(upstream.requests.length, 0, "and good for an hour");
});

t.test("a tag that was not there a moment ago is there after the push", async (t) => {
  const { mirror, upstream } = await start(t);
  const other = "/v2/team/app/manifests/2";
  t.equal((await mirror.get(other)).status, 404);
  upstream.addImage("team/app", "2", second);
  t.equal((await mirror.get(other)).status, 404, "remembered");
  await send(mirror, "quay", pushBodies.quay({ ...pushed, tag: "2" }));
  t.equal(await digestOf(mirror, other), second.digest);
});

t.test("a webhook is a hint: while upstream is away, what is here is served on", async (t) => {
  const { mirror, upstream } = await start(t);
  await upstream.stop();
  await send(mirror, "harbor", pushBodies.harbor(pushed));
  t.equal(await digestOf(mirror), first.digest);
  const strange = { ...pushed, repository: "//127.0.0.1/evil", action: "push" };
  t.equal(await send(mirror, "generic", strange), "202 ignored", "and no name is made up");
});

t.test("a repository prefix: the registry's names and the clients'", async (t) => {
  const upstream = { repositoryPrefix: "docker-local" };
  const { mirror } = await start(t, { upstream, base: "", repository: "docker-local/team/app" });
  const full = { ...pushed, repository: "docker-local/team/app" };
  t.equal(await send(mirror, "distribution", pushBodies.distribution(full)), "202 applied");
  t.equal(await digestOf(mirror), second.digest);
  const other = await start(t, { upstream, base: "", repository: "docker-local/team/app" });
  t.equal(await send(other.mirror, "artifactory", pushBodies.artifactory(pushed)), "202 applied");
  t.equal(await digestOf(other.mirror), second.digest);
});

t.test(
  "deleted from another repository of the same Artifactory: asked, and kept for bad times",
  async (t) => {
    const { mirror, upstream } = await start(t);
    const body = deleteBodies.artifactory?.(pushed) as { data: object };
    await upstream.stop();
    await send(mirror, "artifactory", { ...body, data: { ...body.data, repo_key: "docker-dev" } });
    t.equal(await digestOf(mirror), first.digest);
  },
);

t.test("the upstream in the address of the hook", async (t) => {
  const { mirror } = await start(t, { upstream: { name: "corp" } });
  t.equal(
    await send(mirror, "quay", pushBodies.quay(pushed), "?upstream=hub"),
    "404 there is no upstream of that name",
  );
  t.equal(await digestOf(mirror), first.digest);
  t.equal(await send(mirror, "quay", pushBodies.quay(pushed), "?upstream=corp"), "202 applied");
  t.equal(await digestOf(mirror), second.digest);
});

t.test("prefetch: a tag that has been pulled is fetched at once, another is not", async (t) => {
  const { mirror, upstream } = await start(t, { prefetch: true });
  upstream.addImage("team/app", "unused", second);
  upstream.forget();
  await send(mirror, "generic", { ...pushed, tag: "unused", action: "push" });
  await send(mirror, "generic", { ...pushed, action: "push" });
  await upstream.until(() => upstream.count({ method: "GET", kind: "manifest", finished: true }) === 1);
  t.equal(upstream.count({ reference: "unused" }), 0);
  t.equal(await digestOf(mirror), second.digest);
  t.equal(upstream.count({ kind: "manifest" }), 2, "HEAD and GET, both before the client came");
});

t.test("without a secret there are no hooks", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  t.match(await send(mirror, "generic", { ...pushed, action: "push" }), /^404 here are:/);
});

t.test("no secret, right or wrong, gets into the log", async (t) => {
  const { mirror } = await start(t);
  const url = new URL(`/hooks/quay?secret=${secret}`, mirror.ops);
  const body = JSON.stringify(pushBodies.quay(pushed));
  t.equal((await fetch(url, { method: "POST", body })).status, 202);
  const wrong = new URL("/hooks/quay?secret=hunter2", mirror.ops);
  t.equal((await fetch(wrong, { method: "POST", body })).status, 401);
  await mirror.line(
    ({ msg, source }) => msg === "a webhook came without the right secret" && source === "quay",
  );
  t.notMatch(JSON.stringify(mirror.lines), new RegExp(`${secret}|hunter2`));
});
