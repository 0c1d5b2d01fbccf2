// TLS spoken by the program itself, with several processes and with one: certificates that change, sessions that go on at
// another process, clients that are not told what TLS is.
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { request } from "node:https";
import { connect as connectTcp } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import t from "tap";
import { Authority } from "../fixtures/certificates.ts";
import { connectTls, requestOver, serialOf } from "../fixtures/tls-client.ts";
import { Content, digestOf } from "./fixtures/content.ts";
import { startFront } from "./fixtures/front.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";
import { workDirectory } from "./fixtures/work-directory.ts";
import { allRun, lineOf, startWorkers, workersOf } from "./fixtures/worker-node.ts";

t.setTimeout(300_000);

/** The digest of what a GET gives. */
function get(port: number, path: string, ca: string): Promise<{ status: number; digest: string }> {
  return new Promise((resolve, reject) => {
    const options = { host: "127.0.0.1", port, path, ca, servername: "localhost", agent: false };
    const sent = request(options, (answer) => {
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => chunks.push(chunk)).on("error", reject);
      answer.on("end", () =>
        resolve({ status: answer.statusCode ?? 0, digest: digestOf(Buffer.concat(chunks)) }),
      );
    });
    sent.on("error", reject).end();
  });
}

for (const workers of [1, 3])
  t.test(`clients over TLS, with ${workers} process${workers === 1 ? "" : "es"}`, async (t) => {
    if (!requires(t, "linux", "openssl")) return;
    const directory = await workDirectory(t);
    const authority = new Authority(directory, "authority");
    const ca = authority.cert;
    const [certFile, keyFile] = [join(directory, "tls.crt"), join(directory, "tls.key")];
    const install = async (name: string): Promise<string> => {
      const { cert, key } = authority.issue(name, "DNS:localhost");
      await Promise.all([writeFile(certFile, cert), writeFile(keyFile, key)]);
      return new X509Certificate(cert).serialNumber;
    };
    const first = await install("first");
    const front = await startFront(t);
    const content = new Content("over TLS", 5_000_000);
    front.add(content);
    const tls = { ENTREPOT_LISTEN_TLS_CERT_FILE: certFile, ENTREPOT_LISTEN_TLS_KEY_FILE: keyFile };
    const mirror =
      workers === 1
        ? await startMirror(t, front, { env: tls })
        : await startWorkers(t, front, workers, { env: tls });
    const port = Number(mirror.host.split(":").at(-1));
    const blob = new URL(mirror.blobUrl(content.digest)).pathname;
    for (let i = 0; i < 4; i++) t.same(await get(port, blob, ca), { status: 200, digest: content.digest });

    const plain = connectTcp(port, "127.0.0.1");
    plain.write("GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n");
    t.match(await text(plain), /^HTTP\/1\.1 400 [\s\S]*use https:\/\/\n$/);

    const live = await connectTls(port, { ca });
    t.equal(serialOf(live), first);
    const session = once(live, "session");
    live.write("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    const [ticket] = (await session) as [Buffer];
    if (workers > 1) {
      // That session was one of another process.
      const before = await workersOf(mirror);
      live.on("error", () => {}).resume();
      const closed = once(live, "close");
      for (const pid of before) {
        process.kill(pid, "SIGKILL");
        await allRun(mirror, workers, pid);
      }
      await closed;
      const again = await connectTls(port, { ca, session: ticket });
      t.ok(again.isSessionReused(), "resumed where it was not begun");
      t.match(await requestOver(again), /^HTTP\/1\.1 200 /);
    } else {
      const again = await connectTls(port, { ca, session: ticket });
      t.ok(again.isSessionReused());
      again.destroy();
    }

    const during = await connectTls(port, { ca });
    const second = await install("second");
    const line = await mirror.process.line((each) => lineOf(each, /^a certificate has changed/), 60_000);
    t.match(line, { setting: "listenTls" });
    await until("every process shows the other certificate", async () => {
      const shown = await Promise.all(Array.from({ length: 12 }, () => connectTls(port, { ca })));
      const serials = shown.map((socket) => serialOf(socket));
      for (const socket of shown) socket.destroy();
      return serials.every((serial) => serial === second);
    });
    t.match(await requestOver(during), /^HTTP\/1\.1 200 /, "who is connected goes on");
    const expiry = await mirror.metric(
      "entrepot_tls_certificate_expiry_timestamp_seconds",
      'listener="clients"',
    );
    t.ok(expiry * 1000 > Date.now());

    await writeFile(keyFile, authority.key);
    await mirror.process.line((each) => lineOf(each, /^a changed certificate cannot be used/), 60_000);
    t.same(await get(port, blob, ca), { status: 200, digest: content.digest }, "the last good one stays");
    t.equal((await mirror.stop()).code, 0);
  });
