// podman takes every layer from the mirror its manifest came from: what it does about a mirror that has one and not
// the other, while the far registry is down, is what `manifestsWithoutLayers` is for.
import t from "tap";
import { farRegistryPrograms, startFarRegistry } from "./fixtures/far-registry.ts";
import { greeting } from "./fixtures/images.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { makePodman, podmanPrograms } from "./fixtures/podman.ts";
import { requires } from "./fixtures/requires.ts";

t.setTimeout(180_000);

const accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
const image = "docker.io/made/multi:1";

for (const policy of ["serve", "refuse"] as const)
  t.test(`${policy}: manifests here, layers only at the second mirror`, async (t) => {
    if (!requires(t, ...farRegistryPrograms, ...podmanPrograms)) return;
    const { front, images } = await startFarRegistry(t);
    const env = { ENTREPOT_TAG_TTL: "0s", ENTREPOT_MANIFESTS_WITHOUT_LAYERS: policy };
    const half = await startMirror(t, front, { env });
    const whole = await startMirror(t, front, { env });
    const podman = await makePodman(t, half.host, whole.host);
    await podman.podman("pull", `${whole.host}/made/multi:1`);
    await podman.forget();
    for (const reference of ["1", images.app.digest]) {
      const answer = await fetch(`${half.url}/v2/made/multi/manifests/${reference}`, { headers: { accept } });
      t.equal(answer.status, 200);
    }
    await front.down();
    const pulled = podman.podman("pull", image);
    if (policy === "serve") {
      await t.rejects(pulled, /502|Bad Gateway/, "it asks the first mirror for the layers, and nobody else");
      return;
    }
    await t.resolves(pulled);
    t.equal(await podman.greet(image), greeting, "it runs");
    t.ok((await half.metric("entrepot_upstream_errors_total", 'reason="layers_missing"')) > 0);
  });
