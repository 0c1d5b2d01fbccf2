// A registry whose authority only the store of the system has, as update-ca-certificates puts it there. The mirror is a
// process of its own because the store is read once, and because NODE_EXTRA_CA_CERTS of the machine must not count.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { Authority } from "../fixtures/certificates.ts";
import { makeImage } from "../fixtures/images.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";
import { type MirrorOptions, startMirror } from "./fixtures/mirror.ts";
import { available, requires } from "./fixtures/requires.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(60_000);

/** Where Debian's update-ca-certificates writes all of them. */
const bundle = "/etc/ssl/certs/ca-certificates.crt";

t.test("authorities of the system", async (t) => {
  if (!requires(t, "linux", "openssl")) return;
  const directory = await workDirectory(t);
  const authority = new Authority(directory, "authority");
  const registry = await startUpstream(t, {
    tls: authority.issue("registry", "IP:127.0.0.1"),
    anonymous: true,
  });
  const image = makeImage({ layers: [10_000], seed: "system authorities" });
  registry.addImage("team/app", "1", image);
  const far = { url: registry.url.href, username: "", password: "" };
  const store = join(directory, "store.crt");
  const system = await readFile(bundle, "utf8").catch(() => "");
  await writeFile(store, `${system}\n${authority.cert}`);

  const pull = async (options: MirrorOptions) => {
    const mirror = await startMirror(t, far, options);
    const { status } = await fetch(`${mirror.url}/v2/team/app/manifests/1`);
    return { status, log: mirror.process };
  };

  await t.test("one that nobody trusts: the error says what to set", async (t) => {
    const { status, log } = await pull({});
    t.equal(status, 502);
    const why = /its certificate is not trusted; name its PEM file with tls\.ca/;
    await log.line((line) => why.test(line) || undefined);
    t.equal(registry.count(), 0);
  });

  await t.test("one in the system's store is trusted", { skip: noMount() }, async (t) => {
    const mount = `mount --bind "$0" ${bundle} && exec "$@"`;
    t.match(await pull({ within: ["unshare", "--mount", "sh", "-c", mount, store] }), { status: 200 });
  });

  await t.test("one in the file that SSL_CERT_FILE names is trusted", async (t) => {
    t.match(await pull({ env: { SSL_CERT_FILE: store } }), { status: 200 });
  });

  await t.test("with tls.ca of another authority the system's are trusted still", async (t) => {
    const other = new Authority(directory, "other");
    const config = join(directory, "entrepot.yaml");
    await writeFile(join(directory, "ca.pem"), other.cert);
    await writeFile(config, `upstream:\n  tls:\n    ca: ${join(directory, "ca.pem")}\n`);
    t.match(await pull({ config, env: { SSL_CERT_FILE: store } }), { status: 200 });
    t.match(await pull({ config }), { status: 502 });
  });
});

/** Why the store cannot be replaced for one process; false when it can. */
function noMount(): string | false {
  return available("root") && available("unshare") ? false : "needs root and unshare";
}
