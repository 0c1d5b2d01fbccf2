// What is pushed or deleted through one node, and what another one gives after the answer. News reaches the other node late:
// everything that Redis sends it takes longer than a push.
import { once } from "node:events";
import { Agent } from "node:http";
import { type AddressInfo, connect, createServer } from "node:net";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import t, { type Test } from "tap";
import { digestOf } from "./fixtures/content.ts";
import { startRegistry } from "./fixtures/far-registry.ts";
import type { Mirror } from "./fixtures/mirror.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { ask } from "./fixtures/named-mirror.ts";
import { redisPrograms, startRedis } from "./fixtures/redis.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";
import { workDirectory } from "./fixtures/work-directory.ts";
import { startWorkers } from "./fixtures/worker-node.ts";

t.setTimeout(300_000);

/** Milliseconds that Redis' answers and messages take to the second node. */
const latency = 20;
const rounds = 20;
const type = "application/vnd.oci.image.index.v1+json";
const path = "/v2/team/app/manifests/latest";

/** The port of a Redis that is far away. */
async function farRedis(t: Test, port: number): Promise<number> {
  const relay = createServer((client) => {
    const server = connect(port, "127.0.0.1");
    const late = new Transform({
      transform: (chunk, _encoding, done) => void setTimeout(() => done(null, chunk), latency),
    });
    void pipeline(client, server).catch(() => {});
    void pipeline(server, late, client).catch(() => {});
  });
  relay.listen(0, "127.0.0.1");
  await once(relay, "listening");
  t.teardown(() => relay.close());
  return (relay.address() as AddressInfo).port;
}

for (const workers of [1, 2])
  t.test(`the old one is never given after the answer, with workers: ${workers}`, async (t) => {
    if (!requires(t, "linux", "docker-registry", ...redisPrograms)) return;
    const registry = await startRegistry(t, await workDirectory(t));
    const redis = await startRedis(t);
    const far = { url: registry.href, username: "", password: "" };
    const start = async (name: string, port: number): Promise<Mirror> => {
      const env = {
        ENTREPOT_REDIS_URL: `redis://127.0.0.1:${port}`,
        ENTREPOT_NODE_NAME: name,
        ENTREPOT_TAG_TTL: "1h",
        ENTREPOT_UPSTREAM_PUSH: "true",
        ENTREPOT_UPSTREAM_USERNAME: "",
        ENTREPOT_UPSTREAM_PASSWORD: "",
      };
      return workers === 1
        ? await startMirror(t, far, { env })
        : await startWorkers(t, far, workers, { env });
    };
    const [one, two] = [await start("one", redis.port), await start("two", await farRedis(t, redis.port))];
    for (const mirror of [one, two])
      await until(
        "it has Redis",
        async () => (await mirror.metric("entrepot_shared_store_up", "redis")) === 1,
      );
    const agent = new Agent({ keepAlive: true });
    t.teardown(() => agent.destroy());
    const ofTwo = async (): Promise<string> => {
      const { status, body } = await ask(two, agent, path, "GET", {});
      return status === 200 ? digestOf(body) : String(status);
    };
    const old: string[] = [];
    for (let round = 0; round < rounds; round++) {
      const index = {
        schemaVersion: 2,
        mediaType: type,
        manifests: [],
        annotations: { round: String(round) },
      };
      const body = Buffer.from(JSON.stringify(index));
      const pushed = await ask(one, agent, path, "PUT", { "content-type": type }, body);
      if (pushed.status !== 201) throw new Error(`round ${round}: ${pushed.status}`);
      const given = await ofTwo();
      if (given !== digestOf(body)) old.push(`round ${round}: ${given}`);
      // Now every worker has it.
      await Promise.all(Array.from({ length: 10 }, ofTwo));
    }
    t.same(old, []);
  });
