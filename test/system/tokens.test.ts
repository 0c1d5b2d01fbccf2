// Tokens on the real program: with workers and over TLS, where every process takes what another has given.
import { writeFile } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import t, { type Test } from "tap";
import { bearer, login, userLine } from "../fixtures/access.ts";
import { Authority } from "../fixtures/certificates.ts";
import { makeImage } from "../fixtures/images.ts";
import { startJwtIssuer } from "../fixtures/jwt-issuer.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";
import { workDirectory } from "./fixtures/work-directory.ts";
import { lineOf, startWorkers } from "./fixtures/worker-node.ts";

t.setTimeout(300_000);

const image = makeImage({ layers: [700, 90_000], seed: "tokens of workers" });
const path = "/v2/team/app/manifests/1";

interface Got {
  readonly status: number;
  readonly challenge: string | undefined;
  readonly text: string;
}

/** A mirror over TLS with this configuration, and one request to it on a connection of its own. */
async function setUp(t: Test, workers: number, access: (directory: string) => string) {
  const directory = await workDirectory(t);
  const authority = new Authority(directory, "authority");
  const { cert, key } = authority.issue("mirror", "DNS:localhost");
  const [certFile, keyFile, config] = ["tls.crt", "tls.key", "entrepot.yaml"].map((each) =>
    join(directory, each),
  );
  const users = join(directory, "users");
  await Promise.all([
    writeFile(certFile as string, cert),
    writeFile(keyFile as string, key),
    writeFile(users, userLine("alice", "1") + userLine("bob", "2")),
    writeFile(config as string, access(users)),
  ]);
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", image);
  const env = {
    ENTREPOT_LISTEN_TLS_CERT_FILE: certFile,
    ENTREPOT_LISTEN_TLS_KEY_FILE: keyFile,
    ENTREPOT_LOG_LEVEL: "debug",
  };
  const place = { ...upstream, url: upstream.url.href };
  const options = { env, config: config as string };
  const mirror =
    workers === 1 ? await startMirror(t, place, options) : await startWorkers(t, place, workers, options);
  const port = Number(mirror.host.split(":").at(-1));
  const ask = (at: string, headers: Record<string, string> = {}, form?: string): Promise<Got> =>
    new Promise((resolve, reject) => {
      const type = form === undefined ? {} : { "content-type": "application/x-www-form-urlencoded" };
      const sent = request(
        {
          ...{ host: "127.0.0.1", port, ca: authority.cert, servername: "localhost", agent: false },
          ...{ method: form === undefined ? "GET" : "POST", path: at },
          headers: { host: `localhost:${port}`, ...type, ...headers },
        },
        (answer) => {
          const chunks: Buffer[] = [];
          answer.on("data", (chunk: Buffer) => chunks.push(chunk)).on("error", reject);
          answer.on("end", () =>
            resolve({
              status: answer.statusCode ?? 0,
              challenge: answer.headers["www-authenticate"],
              text: Buffer.concat(chunks).toString(),
            }),
          );
        },
      );
      sent.on("error", reject).end(form);
    });
  return { mirror, ask, port, users };
}

for (const workers of [1, 2])
  t.test(
    `a token from one process is taken by all, and ends with its user; ${workers} processes`,
    async (t) => {
      if (!requires(t, "linux", "openssl")) return;
      const { mirror, ask, port, users } = await setUp(
        t,
        workers,
        (file) =>
          `access:\n  mode: token\n  htpasswdFile: ${file}\n  rules: [{users: [alice]}, {anonymous: true, repositories: public/**}]\n`,
      );
      const realm = `Bearer realm="https://localhost:${port}/v2/token",service="entrepot"`;
      t.equal((await ask("/v2/")).challenge, realm);
      t.equal((await ask(path)).challenge, `${realm},scope="repository:team/app:pull"`);
      const form =
        "grant_type=password&username=alice&password=1&service=entrepot&scope=repository:team/app:pull";
      const tokens = [
        await ask("/v2/token?service=entrepot&scope=repository:team/app:pull", login("alice", "1")),
        await ask("/v2/token", {}, form),
      ].map(({ text }) => JSON.parse(text).token as string);
      const statuses = async (headers: Record<string, string>): Promise<number[]> => {
        const all: number[] = [];
        for (let round = 0; round < 10; round++) all.push((await ask(path, headers)).status);
        return [...new Set(all)];
      };
      for (const token of tokens) t.same(await statuses(bearer(token)), [200]);
      const nobody = JSON.parse((await ask("/v2/token")).text).token;
      t.same(await statuses(bearer(nobody)), [401]);
      t.same(
        await statuses(bearer(JSON.parse((await ask("/v2/token", login("bob", "2"))).text).token)),
        [403],
      );
      t.same(await statuses(bearer(`${tokens[0]}x`)), [401]);
      await writeFile(users, userLine("bob", "2"));
      await mirror.process.line((line) => lineOf(line, /^the file of users has changed/));
      await until(
        "every process has forgotten it",
        async () => (await ask(path, bearer(tokens[0] ?? ""))).status === 401,
      );
      for (const token of tokens) t.same(await statuses(bearer(token)), [401]);
      t.notMatch(mirror.process.output(), new RegExp(tokens.map((each) => each.split(".")[2]).join("|")));
    },
  );

for (const workers of [1, 2])
  t.test(`no answer is given after the end of a token; ${workers} processes`, async (t) => {
    if (!requires(t, "linux", "openssl")) return;
    const issuer = await startJwtIssuer(t);
    const { ask } = await setUp(
      t,
      workers,
      () =>
        `access:\n  mode: token\n  token: {issuer: "${issuer.url}", jwksUrl: "${issuer.keysUrl.href}", audience: mirror, realm: "https://tokens.example.com/"}\n`,
    );
    const access = [{ type: "repository", name: "team/app", actions: ["pull"] }];
    // Good for the 30 s by which clocks may differ, of which three are left.
    const exp = Math.floor(Date.now() / 1000) - 27;
    const token = await issuer.sign({ access, exp });
    const given: number[] = [];
    await until("it is refused", async () => {
      const begun = Date.now();
      const { status } = await ask(path, bearer(token));
      if (status === 200) given.push(begun);
      return status === 401;
    });
    t.ok(given.length > 0, "it was good");
    t.ok(
      given.every((begun) => begun < (exp + 31) * 1000),
      "of its second it is good to the end",
    );
    for (let round = 0; round < 10; round++) t.equal((await ask(path, bearer(token))).status, 401);
  });
