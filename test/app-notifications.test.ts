// Notifications through the whole mirror: what a receiver hears of pulls, of pushes that pass through, and at the end.
import t, { type Test } from "tap";
import type { NotificationEndpointConfig } from "../src/config/config.ts";
import { type EventReceiver, startReceiver } from "./fixtures/event-receiver.ts";
import { parseExposition, sampleOf } from "./fixtures/exposition.ts";
import { makeImage } from "./fixtures/images.ts";
import type { Mirror } from "./fixtures/mirror.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { pushImage } from "./fixtures/push-client.ts";
import { startBoth } from "./fixtures/push-through.ts";
import { startUpstream } from "./fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [200_000] });
const [layer] = image.layers as [(typeof image.layers)[0]];

function endpoint(receiver: EventReceiver, changes: Partial<NotificationEndpointConfig> = {}) {
  return {
    name: "audit",
    url: receiver.url,
    headers: [],
    timeout: 5_000,
    threshold: 10,
    backoff: 10,
    mediaType: "v1",
    ignore: { actions: [], mediaTypes: [] },
    headRequests: false,
    ...changes,
  } as const;
}

async function start(t: Test, changes: Partial<NotificationEndpointConfig> = {}) {
  const [upstream, receiver] = [await startUpstream(t), await startReceiver(t)];
  upstream.addImage("team/app", "1", image);
  const mirror = await startMirror(t, upstream, {
    notifications: { endpoints: [endpoint(receiver, changes)] },
    cache: { dir: t.testdir() },
  });
  return { upstream, receiver, mirror };
}

async function sample(mirror: Mirror, name: string, labels: Record<string, string>) {
  const text = await (await fetch(new URL("/metrics", mirror.ops))).text();
  return sampleOf(parseExposition(text), name, labels);
}

t.test("a pull: the manifest and each blob, a range too, and nothing that failed", async (t) => {
  const { receiver, mirror } = await start(t);
  const host = mirror.url.host;
  await mirror.ask("HEAD", "/v2/team/app/manifests/1");
  await mirror.get("/v2/team/app/manifests/1");
  await mirror.get("/v2/team/app/manifests/none");
  await mirror.get(`/v2/team/app/blobs/${layer.digest}`);
  await mirror.get(`/v2/team/app/blobs/${layer.digest}`, { range: "bytes=0-9" });
  await receiver.until(() => receiver.events.length === 3);
  const [manifest, blob, range] = receiver.events;
  t.match(manifest, {
    action: "pull",
    target: {
      mediaType: image.mediaType,
      digest: image.digest,
      size: image.manifest.length,
      repository: "team/app",
      tag: "1",
      url: `http://${host}/v2/team/app/manifests/${image.digest}`,
    },
    request: { method: "GET", addr: "127.0.0.1", host },
    source: { addr: new RegExp(`:${mirror.url.port}$`), instanceID: /^[0-9a-f-]{36}$/ },
  });
  for (const each of [blob, range])
    t.match(each, {
      target: {
        mediaType: "application/octet-stream",
        digest: layer.digest,
        size: layer.bytes.length,
        url: `http://${host}/v2/team/app/blobs/${layer.digest}`,
      },
    });
  t.equal(await sample(mirror, "entrepot_events_total", { endpoint: "audit", result: "delivered" }), 3);
  t.equal(await sample(mirror, "entrepot_events_pending", { endpoint: "audit" }), 0);
});

t.test("pushes that pass through: blobs, the manifest, a mount, deletes", async (t) => {
  const receiver = await startReceiver(t);
  const { mirror } = await startBoth(t, { notifications: { endpoints: [endpoint(receiver)] } });
  await pushImage(mirror, "team/app", "1", image);
  await receiver.until(() => receiver.events.length === 3);
  const said = () => receiver.events.map(({ action, target }) => [action, target.digest, target.tag]);
  t.same(said(), [
    ["push", image.config.digest, undefined],
    ["push", layer.digest, undefined],
    ["push", image.digest, "1"],
  ]);
  t.match(receiver.events[2], { target: { mediaType: image.mediaType, size: image.manifest.length } });
  const mount = `/v2/team/other/blobs/uploads/?mount=${layer.digest}&from=team/app`;
  t.equal((await mirror.ask("POST", mount)).status, 201);
  t.equal((await mirror.ask("DELETE", `/v2/team/app/manifests/${image.digest}`)).status, 202);
  t.equal((await mirror.ask("DELETE", "/v2/team/app/manifests/2")).status, 404);
  await receiver.until(() => receiver.events.length === 5);
  t.match(receiver.events[3], {
    action: "mount",
    target: { fromRepository: "team/app", digest: layer.digest },
  });
  t.same(receiver.events[4]?.target, { digest: image.digest, repository: "team/app" });
});

t.test("a receiver that is down costs clients nothing; draining delivers what waits", async (t) => {
  const { receiver, mirror } = await start(t);
  receiver.reactions.push("close", 500);
  for (let pull = 0; pull < 5; pull++) t.equal((await mirror.get("/v2/team/app/manifests/1")).status, 200);
  receiver.usual = 200;
  await mirror.app.drain();
  const failed = receiver.deliveries.length;
  t.equal(await sample(mirror, "entrepot_events_pending", { endpoint: "audit" }), 0, `${failed} deliveries`);
  t.ok(mirror.lines.some(({ msg }) => msg === "notifications could not be delivered and stay queued"));
});

t.test("stopping gives up on a receiver that does not answer, and says what is lost", async (t) => {
  const { receiver, mirror } = await start(t, { timeout: 3_600_000 });
  receiver.usual = "hang";
  await mirror.get("/v2/team/app/manifests/1");
  await receiver.until(() => receiver.deliveries.length === 1);
  await mirror.app.stop();
  t.match(
    mirror.lines.find(({ msg }) => msg === "notifications were dropped"),
    { endpoint: "audit", events: 1, detail: "the program has ended" },
  );
});
