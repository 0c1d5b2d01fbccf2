// What workers change in their node: news that reaches them, uses and events that come from them, the settings they get.
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { PassThrough } from "node:stream";
import t, { type Test } from "tap";
import { NodeWorkers } from "../../src/app/node-workers.ts";
import { defaultLimits } from "../../src/http/client-limits.ts";
import { type Digest, parseDigest } from "../../src/oci/digest.ts";
import { parseRepository, parseTag, type Repository, type Tag } from "../../src/oci/name.ts";
import type { RequestEvent } from "../../src/ports/event.ts";
import type { Scope } from "../../src/ports/scope.ts";
import { EventWriter } from "../../src/workers/events.ts";
import { configOf, upstreamUrl } from "../fixtures/loading.ts";
import { ManualClock, ManualPause, quiet } from "../fixtures/manual-time.ts";
import { ScriptedForks, type ScriptedWorker } from "../fixtures/scripted-worker.ts";
import { sampleEvent } from "../fixtures/telemetry-samples.ts";

const scope = { upstream: "far", repository: parseRepository("team/app") as Repository };
const tag = parseTag("1") as Tag;
const digest = parseDigest(`sha256:${"a".repeat(64)}`) as Digest;
const limits = { ...defaultLimits, exempt: ["10.0.0.0/8"] };

function setUp(t: Test, directory = t.testdir(), yaml = "") {
  const forks = new ScriptedForks();
  const events: RequestEvent[] = [];
  const touched: (readonly [Digest, number])[] = [];
  const asked: (readonly [Scope, Tag])[] = [];
  const config = configOf({ yaml, env: { ...upstreamUrl, ENTREPOT_CACHE_DIR: directory } });
  const workers = new NodeWorkers({
    count: 2,
    fork: forks.fork,
    config,
    limits,
    tls: () => undefined,
    pseudonym: "entrepot-test",
    onEvent: (event) => events.push(event),
    lost: () => {},
    index: { touch: (...use) => void touched.push(use) },
    asked: (...tag) => void asked.push(tag),
    readiness: () => 200,
    unreadable: () => {},
    log: { debug: () => {}, error: () => {} },
    clock: new ManualClock().read,
    pause: new ManualPause().pause,
  });
  workers.processes.start().catch(() => {});
  t.teardown(() => workers.stop());
  const first = forks.all[0] as ScriptedWorker;
  /** What it was told to forget since the last call. */
  const forgotten = async () => {
    await quiet();
    const told = first.toldOf("forget").flatMap(({ forgets }) => forgets);
    first.told.length = 0;
    return told;
  };
  return { workers, first, forgotten, events, touched, asked, config };
}

t.test("other nodes' news, a circuit, changed records: what each of them makes workers forget", async (t) => {
  const { workers, forgotten } = setUp(t);
  void workers.heard({ kind: "tag", scope, tag });
  t.same(await forgotten(), [scope]);
  void workers.heard({ kind: "unlinked", scope, digest });
  t.same(await forgotten(), [{ upstream: "far" }], "it may have proved the right of others");
  void workers.heard({ kind: "absent", scope, as: "blob", what: digest });
  t.same(await forgotten(), [], "nothing that was granted");
  workers.onNotice({ kind: "circuit", upstream: "far", state: "open", previous: "closed" });
  t.same(await forgotten(), [{ upstream: "far" }]);
  workers.onNotice({ kind: "secret_problem", upstream: "far", message: "gone" });
  t.same(await forgotten(), []);
  const { tags } = workers.announced({
    tags: { get: async () => undefined, put: async () => true, delete: async () => {} },
    links: {} as never,
  });
  await tags.put(scope, tag, { digest, mediaType: "application/json", size: 1, checkedAt: 1 });
  t.same(await forgotten(), [scope]);
});

t.test("an event of a worker is one of the node, and a hit a use of what was served", async (t) => {
  const { first, events, touched } = setUp(t);
  const content = { digest, mediaType: "application/json", size: 10 };
  const hit = sampleEvent({ result: "hit", content });
  const writer = new EventWriter(first.events as PassThrough);
  for (const event of [
    hit,
    sampleEvent({ result: "miss", content }),
    sampleEvent({ result: "hit", content: undefined }),
  ])
    writer.add(event);
  await writer.flush();
  await quiet();
  t.same(
    events.map(({ result }) => result),
    ["hit", "miss", "hit"],
  );
  t.same(touched, [[digest, hit.time.getTime()]]);
});

t.test("a tag that a worker has answered from a grant was asked for", async (t) => {
  const { first, asked } = setUp(t);
  const content = { digest, mediaType: "application/json", size: 10 };
  const { upstream, repository } = scope;
  const ofTag = { upstream, repository, reference: tag, content } as const;
  const writer = new EventWriter(first.events as PassThrough);
  for (const event of [
    sampleEvent({ ...ofTag, result: "hit", route: "manifest_tag" }),
    sampleEvent({ ...ofTag, result: "hit", route: "manifest_digest", reference: digest }),
    sampleEvent({ ...ofTag, result: "hit", route: "blob", reference: digest }),
    sampleEvent({ ...ofTag, result: "error", route: "manifest_tag", content: undefined }),
  ])
    writer.add(event);
  await writer.flush();
  await quiet();
  t.strictSame(asked, [[scope, tag]]);
});

t.test("workers get what they need of the configuration, and again when it has changed", async (t) => {
  const directory = t.testdir();
  const { workers, first, forgotten } = setUp(t, directory);
  const settings = first.toldOf("start")[0]?.settings;
  t.match(settings, {
    socket: workers.socket,
    cacheDirectory: directory,
    exempt: ["10.0.0.0/8"],
    hostMatters: false,
  });
  t.notMatch(JSON.stringify(settings), /registry\.example\.com/, "nothing of upstream");
  const yaml =
    "cacheStatus: false\nupstreams:\n  - name: far\n    url: https://far.example.com\n    hosts: [far.test]\n";
  workers.use(configOf({ yaml, env: { ENTREPOT_CACHE_DIR: directory } }), limits);
  t.match(first.toldOf("settings"), [{ settings: { cacheStatus: false, hostMatters: true } }]);
  t.same(await forgotten(), [{}], "what was granted under other rules");
});

t.test(
  "nothing of the socket is left, also when the path of the directory is too long for one",
  async (t) => {
    const parent = await mkdtemp(join(tmpdir(), "entrepot-test-"));
    t.teardown(() => rm(parent, { recursive: true }));
    for (const name of ["short", "long".repeat(30)]) {
      const directory = join(parent, name);
      await mkdir(directory);
      const { workers } = setUp(t, directory);
      await writeFile(workers.socket, "");
      await workers.stop();
      t.notOk(existsSync(workers.socket));
      t.equal(existsSync(dirname(workers.socket)), name === "short", dirname(workers.socket));
    }
  },
);
