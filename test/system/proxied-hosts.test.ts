// Where nothing gets out but through a proxy: a registry whose tokens, blobs and shared store are at hosts of their own, each
// of them known to the proxy alone. Over http and by CONNECT through Debian's tinyproxy, and through SOCKS5.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { Authority } from "../fixtures/certificates.ts";
import { makeImage } from "../fixtures/images.ts";
import { startObjectStorage } from "../fixtures/object-storage.ts";
import { startProxy } from "../fixtures/scripted-proxy.ts";
import { startS3 } from "../fixtures/scripted-s3.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";
import { startTokenServer } from "../fixtures/token-server.ts";
import { run } from "./fixtures/child.ts";
import { freePort } from "./fixtures/free-port.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { noInternet } from "./fixtures/no-internet.ts";
import { requires } from "./fixtures/requires.ts";
import { startTlsBefore } from "./fixtures/tls-before.ts";
import { until } from "./fixtures/until.ts";
import { buildWalledNetwork, walledNetworkPrograms } from "./fixtures/walled-network.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(180_000);

const names = {
  registry: "registry.corp.test",
  tokens: "login.elsewhere.test",
  storage: "objects.example.net",
  s3: "s3.store.test",
} as const;
const proxyAccount = "mirror:hunter2";
const image = makeImage({ layers: [300_000, 70_000], seed: "hosts" });
const blobs = [image.config, ...image.layers];

t.test("a registry of several hosts behind a proxy", async (t) => {
  if (!requires(t, "openssl", "skopeo", ...walledNetworkPrograms)) return;
  const [tokens, storage, s3] = [
    await startTokenServer(t),
    await startObjectStorage(t, blobs),
    await startS3(t),
  ];
  const registry = await startUpstream(t, { bearer: tokens });
  registry.addImage("team/app", "1", image);
  const plain = {
    registry: Number(registry.url.port),
    tokens: Number(tokens.realm.port),
    storage: storage.port,
    s3: Number(s3.url.port),
  };
  const directory = await workDirectory(t);
  const authority = new Authority(directory, "authority");
  const all = Object.values(names);
  const identity = authority.issue("hosts", all.map((name) => `DNS:${name}`).join(","));
  const trusted = join(directory, "system.crt");
  await writeFile(trusted, authority.cert);
  const hosts = Object.keys(names) as (keyof typeof names)[];
  const ports = { http: plain, https: { ...plain } };
  for (const host of hosts) ports.https[host] = await startTlsBefore(t, identity, plain[host]);

  const network = await buildWalledNetwork(t);
  const tinyproxy = await network.startProxy(proxyAccount, all, Object.values(ports.https));
  const socks = await startProxy(t, { account: proxyAccount, address: network.here });
  for (const at of [ports.http, ports.https])
    for (const host of hosts) socks.ports.set(`${names[host]}:${at[host]}`, at[host]);

  /** What skopeo, which checks every digest, copies from a mirror in there whose cache is empty. */
  const copy = async (t: Test, scheme: "http" | "https", proxy: string) => {
    const at = (host: keyof typeof names) => `${scheme}://${names[host]}:${ports[scheme][host]}`;
    const mirror = await startMirror(
      t,
      {
        url: `${at("registry")}${registry.url.pathname}`,
        username: registry.username,
        password: registry.password,
      },
      {
        listen: `${network.there}:${await freePort()}`,
        within: network.within,
        env: {
          HTTPS_PROXY: proxy,
          HTTP_PROXY: proxy,
          SSL_CERT_FILE: trusted,
          ENTREPOT_UPSTREAM_TOKEN_REALMS: `${names.tokens}:${ports[scheme].tokens}`,
          ENTREPOT_S3_BUCKET: s3.bucket,
          ENTREPOT_S3_ENDPOINT: at("s3"),
          ENTREPOT_S3_ACCESS_KEY_ID: s3.accessKeyId,
          ENTREPOT_S3_SECRET_ACCESS_KEY: "s3cret-of-s3",
        },
      },
    );
    tokens.called = new URL(`${at("tokens")}/token`);
    const forget = registry.fault(({ kind, reference }) =>
      kind === "blob"
        ? { status: 307, headers: { location: `${at("storage")}/objects/${reference}` } }
        : undefined,
    );
    const host = await network.reach(Number(mirror.host.split(":").at(-1)));
    const target = `oci:${join(await workDirectory(t), "copy")}:1`;
    const flags = ["--quiet", "--src-tls-verify=false"];
    await run("skopeo", ["copy", ...flags, `docker://${host}/team/app:1`, target], { env: noInternet });
    forget();
    return mirror;
  };

  for (const [scheme, kind] of [
    ["http", "http"],
    ["https", "http"],
    ["http", "socks5"],
    ["https", "socks5"],
  ] as const)
    await t.test(`${scheme} through ${kind}`, async (t) => {
      s3.objects.clear();
      storage.asked.length = 0;
      tokens.requests.length = 0;
      const proxy = kind === "http" ? tinyproxy.url : socks.href("socks5");
      const first = await copy(t, scheme, proxy);
      t.same(
        new Set(storage.asked.map(({ digest }) => digest)),
        new Set(blobs.map(({ digest }) => digest)),
        "from the storage",
      );
      const fetched = storage.asked.length;
      t.ok(
        storage.asked.every(({ authorization }) => authorization === undefined),
        "without the account",
      );
      t.ok(
        tokens.requests.length > 0 &&
          tokens.requests.every(({ authorization }) => authorization !== undefined),
      );
      await until("what was fetched is in the store of all nodes", () => {
        const keys = [...s3.objects.keys()].join(" ");
        return blobs.every(({ digest }) => keys.includes(digest.slice("sha256:".length)));
      });
      const read = s3.count("get");
      const second = await copy(t, scheme, proxy);
      t.ok(s3.count("get") - read >= blobs.length, "another node has them from the shared store");
      // Over http tinyproxy cuts an answer now and then, also of the store: then the registry is asked for the rest.
      if (scheme === "https" || kind === "socks5")
        t.equal(storage.asked.length, fetched, "and from there alone");
      for (const { process } of [first, second]) t.notMatch(process.output(), /hunter2|s3cret/);
    });
  t.same(new Set(socks.requests.map(({ by }) => by)), new Set(["socks5"]));
  for (const at of [ports.http, ports.https])
    for (const host of hosts) {
      const to = `${names[host]}:${at[host]}`;
      t.ok(
        socks.requests.some((request) => request.to === to),
        `${to} by its name`,
      );
    }
});
