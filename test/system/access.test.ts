// Names on the real program: users that come and go, with workers, and a client that logs in.
import { writeFile } from "node:fs/promises";
import { Agent } from "node:http";
import { join } from "node:path";
import t from "tap";
import { login } from "../fixtures/access.ts";
import { makeImage } from "../fixtures/images.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";
import { run } from "./fixtures/child.ts";
import { ask, passwords, repositories, startNamed } from "./fixtures/named-mirror.ts";
import { noInternet } from "./fixtures/no-internet.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";
import { workDirectory } from "./fixtures/work-directory.ts";
import { lineOf } from "./fixtures/worker-node.ts";

t.setTimeout(300_000);

t.test("with workers the file of users counts everywhere once it has changed", async (t) => {
  if (!requires(t, "linux")) return;
  const upstream = await startUpstream(t);
  const image = makeImage({ layers: [700], seed: "users" });
  upstream.addImage(repositories.alice, "0", image);
  const { mirror, users, lines } = await startNamed(t, upstream, 2);
  const agent = new Agent();
  const path = `/v2/${repositories.alice}/manifests/0`;
  const status = async (): Promise<number> =>
    (await ask(mirror, agent, path, "GET", login("alice", passwords.alice))).status;
  // On connections of their own, so that every worker has granted it.
  for (let round = 0; round < 20; round++) t.equal(await status(), 200);
  await writeFile(users, lines.filter((line) => !line.startsWith("alice:")).join(""));
  await mirror.process.line((line) => lineOf(line, /^the file of users has changed/));
  await until("every worker has forgotten it", async () => (await status()) === 401);
  for (let round = 0; round < 20; round++) t.equal(await status(), 401);
});

t.test("skopeo logs in with the right password, and copies what it may", async (t) => {
  if (!requires(t, "skopeo")) return;
  const upstream = await startUpstream(t);
  const image = makeImage({ layers: [5_000], seed: "skopeo" });
  for (const repository of Object.values(repositories)) upstream.addImage(repository, "0", image);
  const { mirror } = await startNamed(t, upstream, 2);
  const authFile = join(await workDirectory(t), "auth.json");
  const skopeo = (...args: string[]): Promise<string> => run("skopeo", args, { env: noInternet });
  const asAlice = (password: string): Promise<string> =>
    skopeo("login", "--tls-verify=false", "--authfile", authFile, "-u", "alice", "-p", password, mirror.host);
  await t.rejects(asAlice("wrong"), /unauthorized|invalid username\/password/i);
  t.match(await asAlice(passwords.alice), /Login Succeeded/);
  const copy = async (repository: string, ...auth: string[]): Promise<string> => {
    const directory = join(await workDirectory(t), "copy");
    const source = `docker://${mirror.host}/${repository}:0`;
    return await skopeo("copy", "--quiet", "--src-tls-verify=false", ...auth, source, `oci:${directory}:0`);
  };
  await copy(repositories.alice, "--src-authfile", authFile);
  await t.rejects(copy(repositories.bob, "--src-authfile", authFile), /denied/i);
  await t.rejects(copy(repositories.alice, "--src-no-creds"), /unauthorized|authentication required/i);
  t.match(
    JSON.parse(
      await skopeo(
        "list-tags",
        "--tls-verify=false",
        "--authfile",
        authFile,
        `docker://${mirror.host}/${repositories.alice}`,
      ),
    ),
    { Tags: ["0"] },
  );
});
