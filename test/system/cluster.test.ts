// Three nodes that share a Redis, an S3 server and each other's running fills: one transfer for all of them, and what one
// knows or has fetched is there for the others.
import t from "tap";
import { BalancedClient } from "./fixtures/balanced-client.ts";
import { Content, digestOf } from "./fixtures/content.ts";
import { dockerPrograms, startDockerd } from "./fixtures/dockerd.ts";
import { download } from "./fixtures/download.ts";
import { farRegistryPrograms, startFarRegistry } from "./fixtures/far-registry.ts";
import { type Fleet, startFleet } from "./fixtures/fleet.ts";
import { haproxyPrograms } from "./fixtures/haproxy.ts";
import { greeting, type Image } from "./fixtures/images.ts";
import { type Mirror, startMirror } from "./fixtures/mirror.ts";
import { type Asked, Puller } from "./fixtures/pull-load.ts";
import { requires } from "./fixtures/requires.ts";
import { sharedPrograms, startSharedServices } from "./fixtures/shared-services.ts";
import { until } from "./fixtures/until.ts";

t.setTimeout(180_000);

const manifestType = "application/vnd.oci.image.manifest.v1+json";
/** Milliseconds in which another node takes over what a dead one was fetching. */
const takeover = 5_000;

t.test("three nodes that share", async (t) => {
  if (!requires(t, ...farRegistryPrograms, ...haproxyPrograms, ...sharedPrograms, ...dockerPrograms)) return;
  const { front, images } = await startFarRegistry(t);
  const services = await startSharedServices(t);
  const fleet = await startFleet(t, front, 3, {
    ...services.env,
    ENTREPOT_TAG_TTL: "1h",
    ENTREPOT_UPSTREAM_PUSH: "true",
  });
  const { haproxy } = fleet;
  const puller = new Puller(t);
  await until("every node has Redis", async () => {
    const up = await Promise.all(fleet.nodes.map((node) => node.metric("entrepot_shared_store_up", "redis")));
    return up.every((value) => value === 1);
  });

  await t.test("every node answers for all", async () => {
    for (const { ops } of fleet.nodes)
      await until("it has heard of the others", async () => {
        const document = await (await fetch(`http://${ops}/api/v1/datacenter`)).json();
        const { nodes } = document as { nodes: readonly { state: string }[] };
        return nodes.length === 3 && nodes.every(({ state }) => state === "up");
      });
  });

  await t.test("60 clients, 20 cold blobs, through HAProxy: 20 upstream GETs", async (t) => {
    const cold = coldBlobs("hashed");
    front.add(...cold);
    front.log.forget();
    const right = await sixtyClients(cold, (_, repository) => {
      const own = new BalancedClient(t, haproxy);
      return async ({ digest }) => {
        const answer = await own.get(`/v2/${repository}/blobs/${digest}`);
        return answer.status === 200 && answer.digest === digest;
      };
    });
    t.equal(right, 1200, "every client has every blob");
    t.equal(front.log.blobGets().length, 20, `20 upstream GETs; ${complaints(fleet)}`);
  });

  await t.test("the same over all nodes at once, without hashing: 20 upstream GETs", async (t) => {
    const cold = coldBlobs("spread");
    front.add(...cold);
    front.log.forget();
    const begin = performance.now();
    const right = await sixtyClients(cold, (client, repository) => {
      const node = fleet.nodes[client % 3] as Mirror;
      return async ({ digest }) =>
        (await puller.ask(node.url, { path: `${repository}/blobs/${digest}`, digest })) === undefined;
    });
    t.equal(right, 1200, "every client has every blob");
    t.equal(front.log.blobGets().length, 20, `20 upstream GETs; ${complaints(fleet)}`);
    t.equal(front.log.blobBytes(), 20 * blobSize, "every byte crossed the link once");
    t.comment(`1,200 downloads in ${seconds(begin)} s`);
  });

  await t.test("what one node has fetched: from S3, then from the own disk", async (t) => {
    const [a, b] = fleet.nodes as [Mirror, Mirror];
    const large = new Content("large", 64 * 1024 * 1024);
    front.add(large);
    const figures = [["upstream", await timed(a.blobUrl(large.digest))]] as [string, Timed][];
    await until("it is uploaded", async () => (await services.uploaded()).has(large.digest));
    figures.push(["S3", await timed(b.blobUrl(large.digest))]);
    await until("it is kept", async () => (await b.metric("entrepot_fills_running")) === 0);
    figures.push(["disk", await timed(b.blobUrl(large.digest))]);
    for (const [source, { digest, first, rate }] of figures) {
      t.equal(digest, large.digest, source);
      t.comment(`${source}: first byte ${first.toFixed(0)} ms, ${rate.toFixed(0)} MB/s`);
    }
    t.equal(front.log.blobGets(large.digest).length, 1);
  });

  await t.test(
    "a tag moved through one node is moved on the others, long before its hour is over",
    async (t) => {
      const [a, b, c] = fleet.nodes as [Mirror, Mirror, Mirror];
      const body = await (
        await fetch(`${a.url}/v2/made/app/manifests/1`, { headers: { accept: manifestType } })
      ).text();
      const move = async (to: string): Promise<string> => {
        const moved = JSON.stringify({ ...(JSON.parse(body) as object), annotations: { to } });
        const answer = await fetch(`${a.url}/v2/made/app/manifests/moving`, {
          method: "PUT",
          headers: { "content-type": manifestType },
          body: moved,
        });
        t.equal(answer.status, 201);
        return digestOf(Buffer.from(moved));
      };
      const tag = (digest: string): Asked => ({ path: "made/app/manifests/moving", digest });
      const first = await move("here");
      for (const { url } of [a, b, c]) t.equal(await puller.ask(url, tag(first)), undefined);
      front.log.forget();
      for (const { url } of [a, b, c]) t.equal(await puller.ask(url, tag(first)), undefined);
      t.equal(front.log.manifestRequests().length, 0, "all of them have it");
      const second = await move("there");
      const begin = performance.now();
      for (const [at, { url }] of [a, b, c].entries())
        await until(
          "it has moved",
          async () => (await puller.ask(url, tag(second))) === undefined,
          1_000,
        ).catch(() => t.fail(`node ${at + 1} still has the old one after a second`));
      t.comment(`on all nodes ${(performance.now() - begin).toFixed(0)} ms after the push was answered`);
    },
  );

  await t.test("a node dies (-9) in the middle of a fill that another one reads: that goes on", async (t) => {
    const [a, b] = fleet.nodes as [Mirror, Mirror];
    const blob = new Content("taken over", 8 * 1024 * 1024);
    front.add(blob);
    front.log.forget();
    const hold = front.hold(blob.digest, 0.5);
    const first = download(a.blobUrl(blob.digest));
    first.done.catch(() => {});
    await hold.reached;
    let read = 0;
    const onBytes = (bytes: number): void => {
      read = bytes;
    };
    const second = download(b.blobUrl(blob.digest), { onBytes });
    second.done.catch(() => {});
    await until("its client has some of it", () => read > 1024 * 1024);
    t.equal(front.log.blobGets().length, 1, "the second node reads the first one's fill");
    await a.kill();
    front.heal(blob.digest);
    const begin = performance.now();
    await until("the upstream is asked again", () => front.log.blobGets().length === 2);
    const took = performance.now() - begin;
    t.comment(
      `taken over after ${took.toFixed(0)} ms, ${front.log.blobGets()[1]?.range ?? "from the start"}`,
    );
    t.ok(took < takeover);
    const { digest, complete } = await second.done;
    t.equal(digest, blob.digest);
    t.ok(complete);
    t.match(front.log.blobGets()[1]?.range, /^bytes=[1-9]/, "what was there is not fetched again");
    await fleet.revive(0);
  });

  await t.test("a node dies (-9) under docker pull: it completes", async (t) => {
    const layer = images.app.blobs[2] as string;
    const daemon = await startDockerd(t, haproxy.url);
    front.log.forget();
    const hold = front.hold(layer, 0.5);
    const begin = performance.now();
    const pulling = daemon.docker("pull", `${haproxy.host}/made/app:1`);
    pulling.catch(() => {});
    await hold.reached;
    const victim = await fillingNode(fleet);
    front.heal(layer);
    await fleet.nodes[victim]?.kill();
    await t.resolves(pulling, "it completes");
    t.equal(await daemon.greet(`${haproxy.host}/made/app:1`), greeting, "it runs");
    t.comment(`${seconds(begin)} s in all; upstream GETs of the layer: ${front.log.blobGets(layer).length}`);
    await fleet.revive(victim);
  });

  await t.test(
    "a new node with an empty disk serves what others have fetched, upstream being down",
    async (t) => {
      const app = images.app;
      const all = pullOf("made/app", app);
      for (const asked of all) t.equal(await puller.ask(fleet.nodes[0]?.url as string, asked), undefined);
      await until("all of it is uploaded", async () => {
        const there = await services.uploaded();
        return [app.digest, ...app.blobs].every((digest) => there.has(digest));
      });
      await front.down();
      const fresh = await startMirror(t, front, { env: services.env });
      for (const asked of all) t.equal(await puller.ask(fresh.url, asked), undefined, asked.path);
      await front.up();
    },
  );
});

const blobSize = 128 * 1024;

function coldBlobs(name: string): readonly Content[] {
  return Array.from({ length: 20 }, (_, at) => new Content(`${name} ${at}`, blobSize));
}

/** All of them ask for all blobs, each in an order of its own; how many downloads were right. */
async function sixtyClients(
  cold: readonly Content[],
  client: (at: number, repository: string) => (blob: Content) => Promise<boolean>,
): Promise<number> {
  const counts = await Promise.all(
    Array.from({ length: 60 }, async (_, i) => {
      const pull = client(i, i % 2 === 0 ? "made/one" : "made/two");
      let right = 0;
      for (let at = 0; at < cold.length; at++)
        if (await pull(cold[(at + i) % cold.length] as Content)) right++;
      return right;
    }),
  );
  return counts.reduce((sum, right) => sum + right, 0);
}

function pullOf(repository: string, image: Image): readonly Asked[] {
  return [
    { path: `${repository}/manifests/1`, digest: image.digest },
    ...image.blobs.map((digest) => ({ path: `${repository}/blobs/${digest}`, digest })),
  ];
}

/** What the nodes have warned of, for messages. */
function complaints({ nodes }: Fleet): string {
  const lines = nodes.flatMap(({ process }) => process.output().split("\n"));
  return lines.filter((line) => !/"level":"(info|debug)"/.test(line)).join("\n");
}

/** The place of the node whose fill is held. */
async function fillingNode(fleet: Fleet): Promise<number> {
  return await until("one node fills", async () => {
    const running = await Promise.all(fleet.nodes.map((node) => node.metric("entrepot_fills_running")));
    const at = running.findIndex((count) => count > 0);
    return at < 0 || running.filter((count) => count > 0).length > 1 ? undefined : at;
  });
}

interface Timed {
  readonly digest: string;
  /** Milliseconds. */
  readonly first: number;
  /** Megabytes per second, over the whole download. */
  readonly rate: number;
}

async function timed(url: string): Promise<Timed> {
  const begin = performance.now();
  const { started, done } = download(url);
  await started;
  const first = performance.now() - begin;
  const { digest, bytes } = await done;
  return { digest, first, rate: bytes / 1000 / (performance.now() - begin) };
}

function seconds(begin: number): string {
  return ((performance.now() - begin) / 1000).toFixed(1);
}
