// Names and rights on the real program, with one process and with workers: callers of different rights who ask for the same
// bytes at the same time, and clients that log in.
import { writeFile } from "node:fs/promises";
import { Agent, request } from "node:http";
import { join } from "node:path";
import t, { type Test } from "tap";
import { login, userLine } from "../fixtures/access.ts";
import { type Image, makeImage } from "../fixtures/images.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";
import { SeededRandom } from "../fixtures/seeded-random.ts";
import { run } from "./fixtures/child.ts";
import { type Mirror, startMirror } from "./fixtures/mirror.ts";
import { noInternet } from "./fixtures/no-internet.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";
import { workDirectory } from "./fixtures/work-directory.ts";
import { lineOf, startWorkers } from "./fixtures/worker-node.ts";

t.setTimeout(300_000);

const passwords = { alice: "alice-pw", bob: "bob-pw" };
const repositories = { alice: "team-a/app", bob: "team-b/app" } as const;
const requests = 4_000;
const atOnce = 32;

/** A mirror with these users, of whom each may read a repository of its own. */
async function startNamed(t: Test, far: { url: URL; username: string; password: string }, workers: number) {
  const directory = await workDirectory(t);
  const users = join(directory, "users");
  const lines = Object.entries(passwords).map(([name, password]) => userLine(name, password));
  await writeFile(users, lines.join(""));
  const config = join(directory, "entrepot.yaml");
  const rules = Object.entries(repositories).map(
    ([name, path]) => `    - {users: [${name}], repositories: ["${path}"]}\n`,
  );
  await writeFile(config, `access:\n  mode: htpasswd\n  htpasswdFile: ${users}\n  rules:\n${rules.join("")}`);
  const options = { config, env: { ENTREPOT_LOG_LEVEL: "debug" } };
  const place = { ...far, url: far.url.href };
  const mirror =
    workers === 1 ? await startMirror(t, place, options) : await startWorkers(t, place, workers, options);
  return { mirror, users, lines };
}

interface Got {
  readonly status: number;
  readonly body: Buffer;
}

function get(
  mirror: Mirror,
  agent: Agent,
  path: string,
  method: string,
  headers: Record<string, string>,
): Promise<Got> {
  return new Promise((resolve, reject) => {
    const sent = request(`${mirror.url}${path}`, { method, headers, agent }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => chunks.push(chunk));
      answer.on("end", () => resolve({ status: answer.statusCode ?? 0, body: Buffer.concat(chunks) }));
      answer.on("error", reject);
    });
    sent.on("error", reject);
    sent.end();
  });
}

/** What there is to be had below a repository, with its bytes. */
function contentsOf(images: readonly Image[]): readonly (readonly [path: string, bytes: Buffer])[] {
  return images.flatMap(({ manifest, digest, config, layers }, at) => [
    [`manifests/${at}`, manifest] as const,
    [`manifests/${digest}`, manifest] as const,
    ...[config, ...layers].map((each) => [`blobs/${each.digest}`, each.bytes] as const),
  ]);
}

for (const workers of [1, 2])
  t.test(
    `two callers whose repositories share their layers, ${workers} processes: no byte to the wrong one`,
    async (t) => {
      if (!requires(t, "linux")) return;
      const upstream = await startUpstream(t);
      // The same content in both, so that whatever one has fetched would serve the other.
      const images = Array.from({ length: 40 }, (_, at) =>
        makeImage({ layers: [700, 90_000], seed: `shared ${at}` }),
      );
      for (const repository of Object.values(repositories))
        for (const [at, image] of images.entries()) upstream.addImage(repository, String(at), image);
      const { mirror } = await startNamed(t, upstream, workers);
      const contents = contentsOf(images);
      const seeded = new SeededRandom(7);
      const random = (): number => seeded.next();
      const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
      const agent = new Agent({ keepAlive: true, maxSockets: atOnce });
      t.teardown(() => agent.destroy());
      const callers = [...Object.keys(repositories), "alice with bob's password", "nobody"] as const;
      const counts = { right: 0, denied: 0, challenged: 0 };
      const wrong: string[] = [];
      let left = requests;
      const client = async (): Promise<void> => {
        while (left-- > 0) {
          const who = pick(callers);
          const [owner, repository] = pick(Object.entries(repositories));
          const [what, bytes] = pick(contents);
          const method = pick(["GET", "GET", "GET", "HEAD"]);
          const ranged = what.startsWith("blobs/") && random() < 0.3;
          const headers: Record<string, string> = ranged ? { range: "bytes=10-99" } : {};
          // Attempts with wrong passwords are limited, so most of the strangers send none.
          if (who in repositories) Object.assign(headers, login(who, passwords[who as "alice" | "bob"]));
          else if (who !== "nobody" && random() < 0.02) Object.assign(headers, login("alice", passwords.bob));
          const { status, body } = await get(mirror, agent, `/v2/${repository}/${what}`, method, headers);
          const says = `${who}: ${method} ${repository}/${what}: ${status}, ${body.length} bytes`;
          const sent =
            method === "HEAD" ? Buffer.alloc(0) : ranged && status === 206 ? bytes.subarray(10, 100) : bytes;
          if (who === owner) {
            if ((status === 200 || status === 206) && body.equals(sent)) counts.right++;
            else wrong.push(says);
          } else {
            const expected = who in repositories ? 403 : 401;
            if (status !== expected || (body.length > 0 && !body.toString().startsWith('{"errors"')))
              wrong.push(says);
            else counts[expected === 403 ? "denied" : "challenged"]++;
          }
        }
      };
      await Promise.all(Array.from({ length: atOnce }, client));
      t.same(wrong.slice(0, 10), []);
      t.equal(counts.right + counts.denied + counts.challenged, requests);
      for (const [kind, count] of Object.entries(counts)) t.ok(count > requests / 10, `${kind}: ${count}`);
    },
  );

t.test("with workers the file of users counts everywhere once it has changed", async (t) => {
  if (!requires(t, "linux")) return;
  const upstream = await startUpstream(t);
  const image = makeImage({ layers: [700], seed: "users" });
  upstream.addImage(repositories.alice, "0", image);
  const { mirror, users, lines } = await startNamed(t, upstream, 2);
  const agent = new Agent();
  const path = `/v2/${repositories.alice}/manifests/0`;
  const ask = async (): Promise<number> =>
    (await get(mirror, agent, path, "GET", login("alice", passwords.alice))).status;
  // On connections of their own, so that every worker has granted it.
  for (let round = 0; round < 20; round++) t.equal(await ask(), 200);
  await writeFile(users, lines.filter((line) => !line.startsWith("alice:")).join(""));
  await mirror.process.line((line) => lineOf(line, /^the file of users has changed/));
  await until("every worker has forgotten it", async () => (await ask()) === 401);
  for (let round = 0; round < 20; round++) t.equal(await ask(), 401);
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
