// Where nothing gets out but through a proxy: pulls of real clients, and writes, from a registry that only Debian's tinyproxy
// reaches and only tinyproxy knows the name of.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { Authority } from "../fixtures/certificates.ts";
import { run } from "./fixtures/child.ts";
import { containerdPrograms, startContainerd } from "./fixtures/containerd.ts";
import { dockerPrograms, startDockerd } from "./fixtures/dockerd.ts";
import { farRegistryPrograms, startFarRegistry } from "./fixtures/far-registry.ts";
import { freePort } from "./fixtures/free-port.ts";
import { greeting } from "./fixtures/images.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { noInternet } from "./fixtures/no-internet.ts";
import { makePodman, podmanPrograms } from "./fixtures/podman.ts";
import { requires } from "./fixtures/requires.ts";
import { startTlsBefore } from "./fixtures/tls-before.ts";
import { buildWalledNetwork, walledNetworkPrograms } from "./fixtures/walled-network.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(300_000);

const name = "registry.corp.test";
const account = "mirror:hunter2";

t.test("behind a proxy", async (t) => {
  const clients = [...dockerPrograms, ...containerdPrograms, ...podmanPrograms];
  if (!requires(t, "openssl", ...farRegistryPrograms, ...walledNetworkPrograms, ...clients)) return;
  const { front, images } = await startFarRegistry(t);
  const directory = await workDirectory(t);
  const plain = new URL(front.url);
  const authority = new Authority(directory, "authority");
  const identity = authority.issue("registry", `DNS:${name}`);
  const secure = {
    port: await startTlsBefore(t, identity, Number(plain.port)),
    authority: join(directory, "system.crt"),
  };
  await writeFile(secure.authority, authority.cert);
  const network = await buildWalledNetwork(t);
  const proxy = await network.startProxy(account, [name], [secure.port]);
  const usual = { HTTPS_PROXY: proxy.url, HTTP_PROXY: proxy.url, SSL_CERT_FILE: secure.authority };

  /**
   * A mirror in the walled network, and where clients here reach it. It fetches blobs in one part, since what a part that is cut
   * short leaves in the buffers on the way is counted at the front.
   */
  const start = async (t: Test, protocol: "http" | "https", env: NodeJS.ProcessEnv) => {
    const port = await freePort();
    const url = `${protocol}://${name}:${protocol === "http" ? plain.port : secure.port}${plain.pathname}`;
    const mirror = await startMirror(
      t,
      { url, username: front.username, password: front.password },
      {
        listen: `${network.there}:${port}`,
        within: network.within,
        env: { ENTREPOT_TAG_TTL: "0s", ENTREPOT_UPSTREAM_SEGMENTS: "1", ...env },
      },
    );
    front.log.forget();
    front.called = url;
    return { mirror, host: await network.reach(port) };
  };
  const copy = async (t: Test, host: string, image: string): Promise<void> => {
    const target = `oci:${join(await workDirectory(t), "copy")}:1`;
    const flags = ["--quiet", "--all", "--src-tls-verify=false"];
    await run("skopeo", ["copy", ...flags, `docker://${host}/${image}`, target], { env: noInternet });
  };
  await t.test("without it nothing is reached", async (t) => {
    const { host } = await start(t, "http", {});
    const answer = await fetch(`http://${host}/v2/made/app/manifests/1`);
    t.equal(answer.status, 502);
    t.same(front.log.entries, []);
  });

  for (const [protocol, word] of [
    ["https", "CONNECT"],
    ["http", "GET http:"],
  ] as const)
    await t.test(`${protocol}: each client, each blob once`, async (t) => {
      const { mirror, host } = await start(t, protocol, usual);
      await copy(t, host, "made/multi:1");
      t.equal(
        front.log.blobBytes(),
        images.app.size + images.multi.arm.size,
        "each blob crossed the wall once",
      );
      await copy(t, host, "made/artifact:1");
      await copy(t, host, "made/schema2:1");
      const daemon = await startDockerd(t, `http://${host}`);
      await daemon.docker("pull", "busybox:1");
      t.equal(await daemon.greet("busybox:1"), greeting, "docker");
      const podman = await makePodman(t, host);
      await podman.podman("pull", `${host}/made/app:1`);
      t.equal(await podman.greet(`${host}/made/app:1`), greeting, "podman");
      const containerd = await startContainerd(t);
      await containerd.mirror("registry.example.com", `http://${host}`);
      await containerd.pull("registry.example.com/made/app:1");
      t.ok(
        front.log.entries.every(({ authorized }) => authorized),
        "with the mirror's account",
      );
      t.match(proxy.process.output(), word, "asked of the proxy in the way of the scheme");
      t.notMatch(mirror.process.output(), /hunter2/);
    });

  await t.test("a write goes out the same way", async (t) => {
    const { host } = await start(t, "https", { ...usual, ENTREPOT_UPSTREAM_PUSH: "true" });
    const target = `docker://${host}/team/pushed:1`;
    const flags = ["--quiet", "--dest-tls-verify=false"];
    const from = `oci:${images.directory}:app`;
    await run("skopeo", ["copy", ...flags, from, target], { env: noInternet });
    await copy(t, host, "team/pushed:1");
    const writes = front.log.entries.filter(({ method }) => method === "PUT");
    t.ok(writes.length > 0 && writes.every(({ authorized }) => authorized));
  });

  await t.test(
    "a proxy that refuses, and one that is gone: stale answers, and the reason without the password",
    async (t) => {
      const wrong = { ENTREPOT_PROXY: proxy.url.replace("hunter2", "hunter3"), ...usual };
      for (const protocol of ["https", "http"] as const) {
        const refused = await start(t, protocol, wrong);
        t.equal((await fetch(`http://${refused.host}/v2/made/app/manifests/1`)).status, 502, protocol);
        const told = new RegExp(`the proxy ${proxy.name} refuses our account`);
        await refused.mirror.process.line((line) => told.test(line) || undefined);
        t.notMatch(refused.mirror.process.output(), /hunter/);
      }

      const { mirror, host } = await start(t, "https", usual);
      await copy(t, host, "made/app:1");
      await proxy.process.stop("SIGKILL");
      await copy(t, host, "made/app:1");
      t.ok((await metric(network.within, mirror.ops, "entrepot_stale_served_total")) > 0);
      const gone = new RegExp(`the proxy ${proxy.name} could not be reached`);
      await mirror.process.line((line) => gone.test(line) || undefined);
      t.notMatch(mirror.process.output(), /hunter/);
    },
  );
});

/** The ops listener is on the loopback interface of the walled network. */
async function metric(within: readonly string[], ops: string, wanted: string): Promise<number> {
  const script = `fetch("http://${ops}/metrics").then((a) => a.text()).then((text) => console.log(text))`;
  const [command = "", ...rest] = [...within, process.execPath, "-e", script];
  const text = await run(command, rest);
  const series = text.split("\n").filter((line) => line.startsWith(wanted));
  return series.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
}
