// Two nodes that share an S3 that answers what no real one can be made to: no pull fails that the nodes' own disks or the
// upstream can serve.
import t from "tap";
import { type ScriptedS3, startS3 } from "../fixtures/scripted-s3.ts";
import { Content } from "./fixtures/content.ts";
import { farRegistryPrograms, startFarRegistry } from "./fixtures/far-registry.ts";
import { type Mirror, startMirror } from "./fixtures/mirror.ts";
import { Puller, PullLoad } from "./fixtures/pull-load.ts";
import { redisPrograms, startRedis } from "./fixtures/redis.ts";
import { requires } from "./fixtures/requires.ts";
import { redisSettings, s3Settings } from "./fixtures/shared-services.ts";
import { until } from "./fixtures/until.ts";

t.setTimeout(180_000);

const coldSize = 64 * 1024;

t.test("S3 answers wrongly", async (t) => {
  if (!requires(t, ...farRegistryPrograms, ...redisPrograms)) return;
  const { front } = await startFarRegistry(t);
  const s3 = await startS3(t);
  const server = { endpoint: s3.url, accessKeyId: s3.accessKeyId, secretAccessKey: "secret" };
  const env = { ...redisSettings(await startRedis(t)), ...s3Settings(server, s3.bucket) };
  const nodes: Mirror[] = [];
  for (let at = 0; at < 2; at++) nodes.push(await startMirror(t, front, { env }));
  const settled = async (): Promise<void> => {
    for (const node of nodes)
      await until("S3 is used", async () => {
        const text = await (await fetch(`http://${node.ops}/metrics`)).text();
        return !/^entrepot_shared_store_up\{store="s3"\} 0/m.test(text);
      });
  };
  for (const [name, fault] of [
    ["403", { status: 403 }],
    ["500", { status: 500 }],
    ["503", { status: 503 }],
    ["headers and half a body", { cutAfter: 1_000 }],
    ["a reset", { reset: true }],
    ["nothing", { hang: true }],
  ] as const) {
    // Here already when S3 fails, on one of the nodes and in S3.
    const known = contents(`${name}, known`);
    const cold = contents(`${name}, cold`);
    front.add(...known, ...cold);
    const load = (blobs: readonly Content[], urls: readonly string[]): PullLoad =>
      new PullLoad(t, {
        clients: 4,
        nodes: urls,
        pull: (number) => {
          const { digest } = blobs[number % blobs.length] as Content;
          return [{ path: `made/cold/blobs/${digest}`, digest }];
        },
      });
    const [first, second] = nodes.map(({ url }) => url) as [string, string];
    const before = load(known, [first]);
    await before.more(known.length);
    await before.stop();
    await until("all of it is uploaded", () => known.every(({ digest }) => has(s3, digest)));
    const heal = s3.fault(() => fault);
    const asked = s3.requests.length;
    const during = load([...known, ...cold], [second, first]);
    await during.more(2 * (known.length + cold.length));
    await during.stop();
    t.ok(s3.requests.length > asked, `${name}: S3 was asked`);
    t.same(during.problems, [], `${name}: 0 failed pulls`);
    heal();
    await settled();
    await until("the others are uploaded", () => cold.every(({ digest }) => has(s3, digest)), 90_000);
  }

  await t.test(
    "200 and a page of a proxy: seen before a head is sent, and fetched from upstream",
    async (t) => {
      const blobs = contents("proxied");
      front.add(...blobs);
      const heal = s3.fault(() => ({ status: 200, body: "no blob at all" }));
      const puller = new Puller(t);
      for (const { digest } of blobs) {
        const asked = { path: `made/cold/blobs/${digest}`, digest };
        t.equal(await puller.ask(nodes[1]?.url as string, asked), undefined, "right at once");
      }
      heal();
    },
  );
});

function contents(name: string): readonly Content[] {
  return Array.from({ length: 6 }, (_, at) => new Content(`${name} ${at}`, coldSize));
}

function has({ objects }: ScriptedS3, digest: string): boolean {
  return [...objects.keys()].some((key) => key.endsWith(digest.slice("sha256:".length)));
}
