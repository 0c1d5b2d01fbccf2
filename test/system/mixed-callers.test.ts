// Two callers whose repositories share their layers, and strangers, all at once: whatever a node has, has fetched, is fetching,
// or cannot fetch, nobody is given a byte that is not theirs, and every answer to a stranger is the same.
import { Agent } from "node:http";
import t, { type Test } from "tap";
import { login } from "../fixtures/access.ts";
import { type Image, makeImage } from "../fixtures/images.ts";
import { type ScriptedUpstream, startUpstream } from "../fixtures/scripted-upstream.ts";
import { SeededRandom } from "../fixtures/seeded-random.ts";
import { freePort } from "./fixtures/free-port.ts";
import type { Mirror } from "./fixtures/mirror.ts";
import { ask, passwords, repositories, startNamed } from "./fixtures/named-mirror.ts";
import { redisPrograms, startRedis } from "./fixtures/redis.ts";
import { requires } from "./fixtures/requires.ts";
import { redisSettings } from "./fixtures/shared-services.ts";
import { until } from "./fixtures/until.ts";
import { lineOf } from "./fixtures/worker-node.ts";

t.setTimeout(300_000);

const requests = 10_000;
/** From which request on upstream breaks every connection, and until which. */
const outage = { from: 4_000, to: 6_000 };
const atOnce = 48;
const images = Array.from({ length: 200 }, (_, at) =>
  makeImage({ layers: [700, 30_000], seed: `shared ${at}` }),
);
const contents = images.flatMap(contentsOf);

type Content = readonly [path: string, bytes: Buffer];

/** What of the contents many want when a request of this number begins. */
function crowdAt(number: number): number {
  return (Math.floor(number / atOnce) * 7) % contents.length;
}

/** What there is to be had of an image below a repository, with its bytes. */
function contentsOf({ manifest, digest, config, layers }: Image, at: number): readonly Content[] {
  return [
    [`manifests/${at}`, manifest],
    [`manifests/${digest}`, manifest],
    ...[config, ...layers].map((each): Content => [`blobs/${each.digest}`, each.bytes]),
  ];
}

/** The same content in both repositories, so that whatever one caller has fetched would serve the other. */
async function farAway(t: Test): Promise<ScriptedUpstream> {
  const upstream = await startUpstream(t);
  for (const repository of Object.values(repositories))
    for (const [at, image] of images.entries()) upstream.addImage(repository, String(at), image);
  return upstream;
}

for (const workers of [1, 4])
  t.test(`one node with workers: ${workers}`, async (t) => {
    if (!requires(t, "linux")) return;
    const upstream = await farAway(t);
    const env = { ENTREPOT_TAG_TTL: "1s" };
    const { mirror } = await startNamed(t, upstream, workers, { env });
    await mixed(t, upstream, [mirror]);
  });

t.test("two nodes that share a Redis and read from each other", async (t) => {
  if (!requires(t, "linux", ...redisPrograms)) return;
  const upstream = await farAway(t);
  const redis = await startRedis(t);
  const mirrors: Mirror[] = [];
  for (const name of ["one", "two"]) {
    const listen = `127.0.0.1:${await freePort()}`;
    const env = {
      ...redisSettings(redis),
      ENTREPOT_TAG_TTL: "1s",
      ENTREPOT_NODE_NAME: name,
      ENTREPOT_NODE_ADDRESS: `http://${listen}`,
      ENTREPOT_NODE_SECRET: "0123456789abcdef0123456789abcdef",
    };
    mirrors.push((await startNamed(t, upstream, 1, { listen, env })).mirror);
  }
  for (const mirror of mirrors)
    await until("it has Redis", async () => (await mirror.metric("entrepot_shared_store_up", "redis")) === 1);
  await mixed(t, upstream, mirrors);
  // Only a node is answered without a name; its reads are signed.
  const nameless = mirrors.flatMap(({ process }) =>
    process
      .output()
      .split("\n")
      .filter((line) => {
        const { route, status, user } = lineOf(line, /^request$/) ?? {};
        return route === "blob" && status === 200 && user === undefined;
      }),
  );
  t.ok(nameless.length > 0, `${nameless.length} blobs came from the other node`);
});

const callers = ["alice", "bob", "alice with bob's password", "nobody"] as const;

async function mixed(t: Test, upstream: ScriptedUpstream, mirrors: readonly Mirror[]): Promise<void> {
  const seeded = new SeededRandom(7);
  const random = (): number => seeded.next();
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const agent = new Agent({ keepAlive: true, maxSockets: atOnce });
  t.teardown(() => agent.destroy());
  const counts = { right: 0, denied: 0, challenged: 0, failed: 0 };
  const wrong: string[] = [];
  let begun = 0;
  let ended = 0;
  let up = (): void => {};
  upstream.fault(({ kind }) => (kind === "blob" ? { throttle: 600_000 } : undefined));
  const client = async (): Promise<void> => {
    while (begun < requests) {
      const number = begun++;
      if (number === outage.from) up = upstream.fault(() => ({ reset: true }));
      if (number === outage.to) up();
      const who = pick(callers);
      const [owner, repository] = pick(Object.entries(repositories));
      // Half of them ask for the same at the same time, so that fills are joined, by callers and by nodes.
      const [what, bytes] = random() < 0.5 ? pick(contents) : (contents[crowdAt(number)] as Content);
      const method = pick(["GET", "GET", "GET", "HEAD"]);
      const ranged = what.startsWith("blobs/") && random() < 0.3;
      const headers: Record<string, string> = ranged ? { range: "bytes=10-99" } : {};
      // Attempts with wrong passwords are limited, so most of the strangers send none.
      if (who in repositories) Object.assign(headers, login(who, passwords[who as "alice" | "bob"]));
      else if (who !== "nobody" && random() < 0.01) Object.assign(headers, login("alice", passwords.bob));
      const { status, body } = await ask(pick(mirrors), agent, `/v2/${repository}/${what}`, method, headers);
      ended++;
      const says = `${number}: ${who}: ${method} ${repository}/${what}: ${status}, ${body.length} bytes`;
      const isError = body.length === 0 || body.toString().startsWith('{"errors"');
      const sent =
        method === "HEAD" ? Buffer.alloc(0) : ranged && status === 206 ? bytes.subarray(10, 100) : bytes;
      if (who !== owner) {
        const expected = who in repositories ? 403 : 401;
        if (status === expected && isError) counts[expected === 403 ? "denied" : "challenged"]++;
        else wrong.push(says);
      } else if ((status === 200 || status === 206) && body.equals(sent)) counts.right++;
      // What is not here cannot be had while upstream is down, nor by who had asked for it then.
      else if (status >= 500 && isError && begun > outage.from) counts.failed++;
      else wrong.push(says);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, client));
  t.same(wrong.slice(0, 10), []);
  t.equal(ended, requests);
  t.equal(
    Object.values(counts).reduce((sum, count) => sum + count),
    requests,
  );
  for (const kind of ["right", "denied", "challenged"] as const)
    t.ok(counts[kind] > requests / 10, `${kind}: ${counts[kind]}`);
  t.ok(counts.failed > 0, `upstream was down for ${counts.failed}`);
  // Once more, now that it is up: everything is whole.
  for (const [owner, repository] of Object.entries(repositories))
    await until(`${owner} is served again`, async () => {
      const path = `/v2/${repository}/manifests/0`;
      const headers = login(owner, passwords[owner as "alice" | "bob"]);
      return (await ask(mirrors[0] as Mirror, agent, path, "GET", headers)).status === 200;
    });
}
