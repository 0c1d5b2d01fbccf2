// Bad days of the far registry: hung, down, limiting, refusing our account, failing. Whatever is here stays pullable
// by every client, at once while the circuit is open, and the registry is asked again soon after it is back.
import { performance } from "node:perf_hooks";
import t from "tap";
import { containerdPrograms, startContainerd } from "./fixtures/containerd.ts";
import { dockerPrograms, startDockerd } from "./fixtures/dockerd.ts";
import { farRegistryPrograms, startFarRegistry } from "./fixtures/far-registry.ts";
import { freePort } from "./fixtures/free-port.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { makePodman, podmanPrograms } from "./fixtures/podman.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";

t.setTimeout(300_000);

const accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";
const name = "registry.example.com";

t.test("outages", async (t) => {
  if (!requires(t, ...farRegistryPrograms, ...dockerPrograms, ...podmanPrograms, ...containerdPrograms))
    return;
  const { front } = await startFarRegistry(t);
  const listen = `127.0.0.1:${await freePort()}`;
  const mirror = await startMirror(t, front, { listen, env: { ENTREPOT_TAG_TTL: "0s" } });
  const docker = await startDockerd(t, mirror.url);
  const podman = await makePodman(t, mirror.host);
  const containerd = await startContainerd(t);
  await containerd.mirror(name, mirror.url);
  const image = `${listen}/made/app:1`;
  const pulls = {
    docker: async () => {
      await docker.forget();
      await docker.docker("pull", image);
    },
    podman: async () => {
      await podman.forget();
      await podman.podman("pull", image);
    },
    ctr: async () => {
      await containerd.forget();
      await containerd.pull(`${name}/made/app:1`);
    },
  };
  for (const pull of Object.values(pulls)) await pull();
  const tagged = async (): Promise<{ status: number; ms: number }> => {
    const begin = performance.now();
    const answer = await fetch(`${mirror.url}/v2/made/app/manifests/1`, { headers: { accept } });
    await answer.arrayBuffer();
    return { status: answer.status, ms: performance.now() - begin };
  };
  const recovered = async (): Promise<number> => {
    front.log.forget();
    const begin = performance.now();
    await until("the far registry is asked again", async () => {
      await tagged();
      return front.log.manifestRequests().some(({ status }) => status === 200);
    });
    return performance.now() - begin;
  };

  for (const outage of ["hung", "down", 429, 401, 500] as const) {
    await t.test(`the far registry: ${outage}`, async (t) => {
      if (outage === "down") await front.down();
      else front.outage = outage;
      const first = await tagged();
      t.equal(first.status, 200);
      t.ok(first.ms < 1_500, `the first stale answer after ${Math.round(first.ms)} ms`);
      for (const [client, pull] of Object.entries(pulls)) {
        await t.resolves(pull(), `${client} pulls what is here`);
      }
      const times: number[] = [];
      for (let i = 0; i < 100; i++) {
        const { status, ms } = await tagged();
        if (status !== 200) t.fail(`answer ${i} was ${status}`);
        times.push(ms);
      }
      const p99 = times.sort((a, b) => a - b)[98] ?? Number.NaN;
      t.comment(
        `${outage}: first ${first.ms.toFixed(0)} ms, then p50 ${times[50]?.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`,
      );
      front.outage = undefined;
      if (outage === "down") await front.up();
      const back = await recovered();
      t.ok(back < 5_000, `asked again ${Math.round(back)} ms after recovery`);
      t.comment(`${outage}: asked again after ${Math.round(back)} ms`);
    });
  }
  t.equal((await fetch(`${mirror.url}/livez`)).status, 200, "nothing restarted");
});
