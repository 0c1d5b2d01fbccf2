// The image, built by a real docker and run as docker-compose.yml and the manifests run it: no rights, nothing writable
// but the volume.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { baseImagePrograms, certificates, importBaseImage } from "./fixtures/base-image.ts";
import { attempt } from "./fixtures/child.ts";
import { dockerPrograms, startDockerd } from "./fixtures/dockerd.ts";
import { freePort } from "./fixtures/free-port.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";

t.setTimeout(300_000);

const root = join(import.meta.dirname, "../..");
const dockerfile = join(root, "deploy/Dockerfile");
const base = /^ARG NODE_IMAGE=(\S+)$/m.exec(readFileSync(dockerfile, "utf8"))?.[1] ?? "";

t.test("the image", async (t) => {
  if (!requires(t, ...dockerPrograms, ...baseImagePrograms)) return;
  // Asked as npm asks inside the build, with this machine's authorities.
  const env = { NODE_EXTRA_CA_CERTS: certificates };
  const reachable = await attempt("env", ["-u", "NODE_OPTIONS", "npm", "ping"], { env, timeout: 20_000 });
  if (reachable.code !== 0) return t.plan(0, "npm has no registry to install from");
  const daemon = await startDockerd(t, "http://127.0.0.1:9");
  await importBaseImage(t, daemon, base);

  const begin = performance.now();
  await daemon.build("entrepot", dockerfile, root, 240_000);
  t.comment(
    `built in ${Math.round((performance.now() - begin) / 1000)} s on a base made of busybox and this Node`,
  );
  const [image] = JSON.parse(await daemon.docker("image", "inspect", "entrepot"));
  t.match(image.Config, {
    User: "65532:65532",
    StopSignal: "SIGTERM",
    Entrypoint: ["node", "--disable-sigusr1", "/app/dist/main.js"],
  });
  t.ok(Object.keys(image.Config.Labels).every((label) => label.startsWith("org.opencontainers.image.")));

  const [port, opsPort] = [await freePort(), await freePort()];
  const settings = {
    ENTREPOT_LISTEN: `127.0.0.1:${port}`,
    ENTREPOT_OPS_LISTEN: `127.0.0.1:${opsPort}`,
    ENTREPOT_UPSTREAM_URL: "http://127.0.0.1:9",
    ENTREPOT_DRAIN_DELAY: "0s",
  };
  const options = [
    "--network",
    "host",
    "--read-only",
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges",
  ];
  const environment = Object.entries(settings).flatMap(([name, value]) => ["--env", `${name}=${value}`]);
  const volume = ["--volume", "cache:/var/lib/entrepot", "--health-interval", "1s"];
  await daemon.docker(
    "run",
    "--detach",
    "--name",
    "mirror",
    ...options,
    ...environment,
    ...volume,
    "entrepot",
  );
  t.teardown(() => daemon.attempt("rm", "--force", "mirror"));
  const state = async (field: string) =>
    (await daemon.docker("inspect", "--format", `{{.State.${field}}}`, "mirror")).trim();
  await until("the health check is content", async () => (await state("Health.Status")) === "healthy");
  t.equal((await fetch(`http://127.0.0.1:${port}/v2/`)).status, 200);
  t.match(await daemon.docker("exec", "mirror", "id", "-u"), /^65532$/m);
  const sbom = JSON.parse(await daemon.docker("exec", "mirror", "cat", "/app/sbom.cdx.json"));
  t.match(sbom, { bomFormat: "CycloneDX", metadata: { component: { name: "entrepot" } } });
  t.match((await daemon.attempt("exec", "mirror", "touch", "/app/x")).output, /Read-only file system/);
  await daemon.docker("stop", "mirror");
  t.equal(await state("ExitCode"), "0", "stopped, not killed");
});
