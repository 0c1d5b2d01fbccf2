// Where the program listens, as one process and with workers: unix sockets, sockets that systemd passes, and connections
// whose proxy says whose they are.
import { once } from "node:events";
import { statSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { type Mirror, startMirror } from "./fixtures/mirror.ts";
import { requires } from "./fixtures/requires.ts";

t.setTimeout(180_000);

/** Nothing of it is asked for here. */
const far = { url: "http://127.0.0.1:9", username: "ci", password: "none" };

function status(
  place: { socketPath: string } | { host: string; port: number },
  path: string,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = { host: "localhost", "x-forwarded-for": "203.0.113.9" };
    const sent = request({ ...place, path, headers, agent: false }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    });
    sent.on("error", reject);
    sent.end();
  });
}

/** The client in the log line of the first request for `/v2/`. */
async function clientOf(mirror: Mirror): Promise<unknown> {
  return await mirror.process.line((line) => {
    const { path, client } = JSON.parse(line) as { path?: string; client?: string };
    return path === "/v2/" ? client : undefined;
  });
}

async function shortDirectory(t: Test): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), "entrepot-"));
  t.teardown(() => rm(made, { recursive: true, force: true }));
  return made;
}

function place(host: string): { host: string; port: number } {
  const url = new URL(`http://${host}`);
  return { host: url.hostname, port: Number(url.port) };
}

for (const workers of ["1", "2"]) {
  const env = { ENTREPOT_WORKERS: workers, ENTREPOT_LOG_LEVEL: "info" };

  t.test(`unix sockets, workers ${workers}`, async (t) => {
    const directory = await shortDirectory(t);
    const [clients, ops] = [join(directory, "a.sock"), join(directory, "b.sock")];
    for (const how of ["at first", "over what a killed process left"]) {
      const mirror = await startMirror(t, far, {
        listen: `unix:${clients}?mode=0600`,
        env: { ...env, ENTREPOT_OPS_LISTEN: `unix:${ops}`, ENTREPOT_TRUSTED_PROXIES: "unix:" },
      });
      t.equal(mirror.host, `unix:${clients}`, how);
      t.equal(await status({ socketPath: clients }, "/v2/"), 200);
      t.equal(await status({ socketPath: ops }, "/livez"), 200);
      t.equal(statSync(clients).mode & 0o777, 0o600);
      t.equal(statSync(ops).mode & 0o777, 0o660);
      t.equal(
        await clientOf(mirror),
        "203.0.113.9",
        "a proxy at a unix socket is believed when that is said",
      );
      await mirror.kill();
    }
  });

  t.test(`sockets that systemd passes, workers ${workers}`, async (t) => {
    if (!requires(t, "python3")) return;
    const pass = `
import os, socket, sys
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
for i, each in enumerate(held):
    os.dup2(each.fileno(), 13 + i)
for i in range(2):
    os.dup2(13 + i, 3 + i, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="ops:entrepot.socket")
os.execvp(sys.argv[1], sys.argv[1:])`;
    const mirror = await startMirror(t, far, {
      listen: "",
      env: { ...env, ENTREPOT_OPS_LISTEN: "" },
      within: ["python3", "-c", pass],
    });
    t.equal(await status(place(mirror.host), "/v2/"), 200);
    t.equal(await status(place(mirror.ops), "/livez"), 200);
    t.equal(await clientOf(mirror), "127.0.0.1");
    t.equal((await mirror.stop()).code, 0);
  });

  t.test(`the PROXY protocol on every address of both families, workers ${workers}`, async (t) => {
    const mirror = await startMirror(t, far, {
      listen: ":0",
      env: { ...env, ENTREPOT_TRUSTED_PROXIES: "127.0.0.1" },
    });
    const { port } = place(mirror.host);
    const socket = connect(port, "127.0.0.1");
    const header = "PROXY TCP4 203.0.113.9 10.0.0.1 56324 5000\r\n";
    socket.write(`${header}GET /v2/ HTTP/1.1\r\nHost: mirror\r\nConnection: close\r\n\r\n`);
    const [answer] = (await once(socket, "data")) as [Buffer];
    t.match(answer.toString(), /^HTTP\/1\.1 200 /);
    t.equal(await clientOf(mirror), "203.0.113.9");
    const other = connect(port, "127.0.0.1");
    other.write("GET /v2/ HTTP/1.1\r\nHost: mirror\r\nConnection: close\r\n\r\n");
    t.match(
      String((await once(other, "data"))[0]),
      /^HTTP\/1\.1 200 /,
      "a connection without it is its proxy's own",
    );
  });
}
