// What does not fit in the whole of a refresh: test/app-purge.test.ts has the rest.
import t from "tap";
import { Refreshes, type RefreshOptions, type RefreshParts } from "../../../src/app/images/refresh.ts";
import type { Digest } from "../../../src/oci/digest.ts";
import { eventually, gate, ManualPause, quiet } from "../../fixtures/manual-time.ts";

const digest = `sha256:${"a".repeat(64)}` as Digest;

t.test("a failure that comes after the answer is logged", async (t) => {
  const upstream = { name: "hub", namespaces: [], hosts: [], url: new URL("https://registry.example.com") };
  const config = { node: { name: "a" }, upstreams: [upstream], listen: {}, opsHosts: [] };
  const logged: unknown[] = [];
  const { promise: written, resolve } = Promise.withResolvers<void>();
  const pause = new ManualPause();
  const refreshes = new Refreshes({
    config: () => config,
    log: {
      warn: (...line: unknown[]) => {
        logged.push(line);
        resolve();
      },
    },
    clock: () => 1000,
    pause: pause.pause,
  } as unknown as RefreshOptions);
  const asked = gate();
  const fails = gate();
  const forget = async (): Promise<void> => {};
  refreshes.attach({
    upstreams: () => [upstream],
    manifests: {
      open: async () => {
        asked.open();
        await fails.opened;
        throw new Error("upstream hub does not answer");
      },
    },
    ...{ negative: { forget }, listings: { forget }, confirmations: { forget } },
    known: async () => ({ goes: [{ digest, role: "manifest", here: false }], stays: [] }),
    commands: undefined,
    neighbours: { list: () => [] },
  } as unknown as RefreshParts);
  const answer = refreshes.refresh(`team/app@${digest}`);
  await asked.opened;
  pause.elapse();
  t.match(await answer, { nodes: [{ name: "a", state: "running" }] });
  t.strictSame(logged, []);
  fails.open();
  await written;
  t.match(logged, [
    [{ upstream: "hub", repository: "team/app", digest, problem: "upstream hub does not answer" }],
  ]);
});

t.test("what goes on after its answer counts among the four that are hashed at once", async (t) => {
  const upstream = { name: "hub", namespaces: [], hosts: [], url: new URL("https://registry.example.com") };
  const config = { node: { name: "a" }, upstreams: [upstream], listen: {}, opsHosts: [] };
  const pause = new ManualPause();
  const refreshes = new Refreshes({
    config: () => config,
    log: { warn: () => {} },
    clock: () => 1000,
    pause: pause.pause,
  } as unknown as RefreshOptions);
  const hashed = gate();
  let checks = 0;
  const forget = async (): Promise<void> => {};
  refreshes.attach({
    upstreams: () => [upstream],
    local: {
      checks: {
        check: async () => {
          checks++;
          await hashed.opened;
          return "sound";
        },
      },
    },
    ...{ negative: { forget }, listings: { forget }, confirmations: { forget } },
    known: async () => ({ goes: [{ digest, role: "manifest", here: true }], stays: [] }),
    commands: undefined,
    neighbours: { list: () => [] },
  } as unknown as RefreshParts);
  for (let count = 1; count <= 4; count++) {
    const answer = refreshes.refresh(`team/app@${digest}`);
    await eventually("it is being hashed", () => checks === count);
    pause.elapse();
    t.match(await answer, { nodes: [{ state: "running" }] });
  }
  t.match(await refreshes.refresh(`team/app@${digest}`), {
    nodes: [{ state: "failed", problem: "four images are being hashed; ask again later" }],
  });
  t.equal(checks, 4);
  hashed.open();
  await quiet();
  t.match(await refreshes.refresh(`team/app@${digest}`), { nodes: [{ state: "sound" }] });
});
