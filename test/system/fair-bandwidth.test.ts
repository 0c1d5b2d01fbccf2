// Callers share the link to an upstream: one that pulls 64 blobs at once and one that pulls one get about the same of it. The
// link is one of 48 Mbit/s and 20 ms there and back between two network namespaces. What counts are bytes, not times.
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import { startEntrepot } from "../bench/entrepot.ts";
import { longLinkMissing, startLongLinkRig } from "../bench/long-link-rig.ts";
import { Child, run } from "./fixtures/child.ts";
import { freePort } from "./fixtures/free-port.ts";
import type { UnequalPull } from "./fixtures/unequal-clients.ts";

const timeout = 240_000;
t.setTimeout(timeout);

const fixture = (name: string): string => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
const mebibyte = 1024 * 1024;
const connections = 64;
/** Bytes the many have before the one begins, and bytes both have together from then on. */
const before = 16 * mebibyte;
const together = 128 * mebibyte;
/**
 * What the kernel may take in for a transfer that is held, in bytes: with the usual 6 to 32 MiB it takes longer until those
 * who are held have left the link to the others.
 */
const receiveBuffer = 256 * 1024;

async function pull(t: Test, workers: number): Promise<UnequalPull> {
  const rig = startLongLinkRig(t);
  const near = await rig.near(t, { mbit: 48, roundTrip: 20, loss: 0, seed: 1 });
  const [inNear = "", ...within] = near.place.prefix;
  const memory = `echo 4096 131072 ${receiveBuffer} >/proc/sys/net/ipv4/tcp_rmem`;
  await run(inNear, [...within, "sh", "-c", memory]);
  const port = await freePort();
  const [inFar = "", ...far] = rig.far.prefix;
  const registry = [process.execPath, fixture("endless-registry.ts"), rig.far.address, String(port)];
  await new Child(t, inFar, [...far, ...registry]).line((line) => (line === "ready" ? true : undefined));
  const mirror = await startEntrepot({
    upstream: new URL(`http://${rig.far.address}:${port}`),
    directory: t.testdir(),
    place: { ...near.place, address: "127.0.0.1" },
    processes: workers,
    env: { ENTREPOT_UPSTREAM_MAX_CONNECTIONS: "128", ENTREPOT_LIMITS_COLD_FILLS: String(connections) },
  });
  t.teardown(() => mirror.stop());
  const asked = [mirror.url.href, connections, before, together].map(String);
  const clients = [process.execPath, fixture("unequal-clients.ts"), ...asked];
  const output = await run(inNear, [...within, ...clients], { timeout });
  return JSON.parse(output) as UnequalPull;
}

for (const workers of [1, 2]) {
  t.test(`one connection gets 40 to 60 % of the link beside 64; processes: ${workers}`, async (t) => {
    const missing = longLinkMissing();
    // A machine may have every program, and no TUN devices.
    if (missing !== undefined) return void t.plan(0, missing);
    const { one, many } = await pull(t, workers);
    const part = one / (one + many);
    t.comment(`${(100 * part).toFixed(1)} % of ${together} bytes`);
    t.ok(part > 0.4 && part < 0.6, `${part}`);
  });
}
