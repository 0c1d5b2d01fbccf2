import t from "tap";
import { type FleetOptions, pullTogether } from "../../src/demo/fleet.ts";
import { startDemoUpstream } from "../../src/demo/upstream.ts";

type Tap = { teardown(action: () => Promise<void>): void };
async function start(t: Tap, roundTripMs: number): Promise<FleetOptions> {
  const upstream = await startDemoUpstream({
    repositories: [],
    username: "ci",
    password: "s3cret",
    link: { roundTripMs, bytesPerSecond: 1e9 },
  });
  t.teardown(() => upstream.stop());
  return {
    name: "test",
    mirror: upstream.url,
    upstream,
    repository: "team/app",
    tag: "1.0",
    architecture: "amd64",
    clients: 5,
    signal: new AbortController().signal,
  };
}

t.test("one client's failure is everybody's", async (t) => {
  const options = await start(t, 0);
  await t.rejects(pullTogether(options), { name: "PullError", code: "status", message: /401/ });
});

t.test("the signal ends all of them", async (t) => {
  const leaving = new AbortController();
  const options = { ...(await start(t, 60_000)), signal: leaving.signal };
  const pulls = pullTogether(options);
  leaving.abort();
  await t.rejects(pulls, { name: "AbortError" });
});
