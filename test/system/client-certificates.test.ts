// Clients that show certificates to the real program, with one process and with workers: skopeo copies what the rules let its
// certificate have, and no answer that one has been given serves another.
import { mkdir, writeFile } from "node:fs/promises";
import { Agent, request } from "node:https";
import { join } from "node:path";
import t from "tap";
import { login, userLine } from "../fixtures/access.ts";
import { Authority, type Identity } from "../fixtures/certificates.ts";
import { makeImage } from "../fixtures/images.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";
import { run } from "./fixtures/child.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { noInternet } from "./fixtures/no-internet.ts";
import { requires } from "./fixtures/requires.ts";
import { workDirectory } from "./fixtures/work-directory.ts";
import { startWorkers } from "./fixtures/worker-node.ts";

t.setTimeout(300_000);

const image = makeImage({ layers: [700, 90_000], seed: "certificates" });

for (const [mode, workers] of [
  ["open", 1],
  ["htpasswd", 3],
] as const)
  t.test(`certificates as callers, mode ${mode}, ${workers} processes`, async (t) => {
    if (!requires(t, "linux", "skopeo", "openssl")) return;
    const upstream = await startUpstream(t);
    for (const team of ["team-a", "team-b"]) upstream.addImage(`${team}/app`, "0", image);
    const directory = await workDirectory(t);
    const authority = new Authority(directory, "authority");
    const ca = authority.cert;
    const issue = (name: string, unit: string): Identity =>
      authority.issue(name, "IP:127.0.0.1", `/OU=${unit}/CN=${name}`);
    issue("server", "servers");
    const [a, b] = [issue("a", "team-a"), issue("b", "team-b")];
    const forged = new Authority(directory, "stranger").issue("a", "IP:127.0.0.1", "/OU=team-a/CN=a");
    const file = (name: string): string => join(directory, name);
    await writeFile(file("users"), userLine("bob", "bob-pw"));
    const users = mode === "open" ? "" : `  htpasswdFile: ${file("users")}\n`;
    const rules = ["a", "b"].map(
      (team) => `    - {groups: ["cert:team-${team}"], repositories: "team-${team}/**"}\n`,
    );
    await writeFile(
      file("entrepot.yaml"),
      `listenTls: {certFile: ${file("server.pem")}, keyFile: ${file("server.key")}, clientCaFile: ${file("authority.pem")}}\naccess:\n  mode: ${mode}\n${users}  clientCertificates: cn\n  rules:\n${rules.join("")}    - {users: ${mode === "open" ? "['cert:none']" : "[bob]"}, repositories: "team-b/**"}\n`,
    );
    const far = { ...upstream, url: upstream.url.href };
    const options = { config: file("entrepot.yaml") };
    const mirror =
      workers === 1 ? await startMirror(t, far, options) : await startWorkers(t, far, workers, options);
    const agents = new Map<Identity | undefined, Agent>();
    t.teardown(() => {
      for (const agent of agents.values()) agent.destroy();
    });
    /** Over a new connection now and then, so that every worker is met. */
    const get = (
      identity: Identity | undefined,
      path: string,
      headers: Record<string, string> = {},
      fresh = true,
    ) =>
      new Promise<{ status: number | undefined; headers: Record<string, unknown>; length: number }>(
        (resolve, reject) => {
          const port = Number(mirror.host.split(":").at(-1));
          const kept = agents.get(identity) ?? new Agent({ keepAlive: true, ca, ...identity });
          agents.set(identity, kept);
          const agent = fresh ? new Agent({ ca, ...identity }) : kept;
          request({ host: "127.0.0.1", port, path, headers, agent }, (answer) => {
            let length = 0;
            answer.on("data", (chunk: Buffer) => {
              length += chunk.length;
            });
            answer.on("end", () => resolve({ status: answer.statusCode, headers: answer.headers, length }));
            answer.on("error", reject);
          })
            .on("error", reject)
            .end();
        },
      );

    const layer = image.layers[1]?.digest;
    const paths = ["manifests/0", `manifests/${image.digest}`, `blobs/${layer}`];
    for (let round = 0; round < 8; round++)
      for (const what of paths)
        for (const [identity, own, other] of [
          [a, "team-a", "team-b"],
          [b, "team-b", "team-a"],
        ] as const) {
          const fresh = round % 2 === 0;
          t.equal((await get(identity, `/v2/${own}/app/${what}`, {}, fresh)).status, 200);
          t.equal((await get(identity, `/v2/${other}/app/${what}`, {}, fresh)).status, 403);
          const nobody = await get(undefined, `/v2/${own}/app/${what}`, {}, fresh);
          t.equal(nobody.status, mode === "open" ? 403 : 401);
          t.equal("www-authenticate" in nobody.headers, mode !== "open", "in mode open nobody is asked");
        }
    await t.rejects(get(forged, "/v2/"), "of another authority");
    t.equal((await get(a, "/v2/")).status, 200);
    if (mode === "htpasswd") {
      const path = "/v2/team-b/app/manifests/0";
      t.equal(
        (await get(a, path, login("bob", "bob-pw"))).status,
        200,
        "credentials go before a certificate",
      );
      t.equal((await get(b, path, login("bob", "guess"))).status, 401, "wrong ones too");
    }
    t.match(mirror.process.output(), /"user":"cert:a"/);

    const certificates = file("certs");
    await mkdir(certificates);
    await Promise.all([
      writeFile(join(certificates, "ca.crt"), ca),
      writeFile(join(certificates, "client.cert"), a.cert),
      writeFile(join(certificates, "client.key"), a.key),
    ]);
    const copy = async (repository: string): Promise<string> => {
      const to = `oci:${join(await workDirectory(t), "copy")}:0`;
      const from = `docker://127.0.0.1:${mirror.host.split(":").at(-1)}/${repository}:0`;
      return await run("skopeo", ["copy", "--quiet", "--src-cert-dir", certificates, from, to], {
        env: noInternet,
      });
    };
    await copy("team-a/app");
    await t.rejects(copy("team-b/app"), /denied/i);
  });
