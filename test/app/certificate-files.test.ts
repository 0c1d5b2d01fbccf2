import { X509Certificate } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { CertificateFiles } from "../../src/app/certificate-files.ts";
import type { ServerTls } from "../../src/ports/tls-front.ts";
import { Authority, type Identity, withoutOpenssl } from "../fixtures/certificates.ts";
import { eventually, ManualClock, ManualPause } from "../fixtures/manual-time.ts";

const skip = withoutOpenssl();
const authority = skip === false ? new Authority(t.testdir(), "authority") : undefined;
const issued = (name: string) => authority?.issue(name, "DNS:localhost") ?? { cert: "", key: "" };
const day = 24 * 3_600_000;

async function setUp(t: Test, first: Identity) {
  const directory = join(t.testdirName, "served");
  mkdirSync(directory, { recursive: true });
  const files = {
    certFile: join(directory, "tls.crt"),
    keyFile: join(directory, "tls.key"),
    clientCaFile: join(directory, "ca.crt"),
  };
  const write = ({ cert, key }: Partial<Identity>) => {
    if (cert !== undefined) writeFileSync(files.certFile, cert);
    if (key !== undefined) writeFileSync(files.keyFile, key);
  };
  writeFileSync(files.clientCaFile, authority?.cert ?? "");
  write(first);
  const clock = new ManualClock();
  const time = new ManualPause();
  time.instant = () => false;
  const changes: ServerTls[] = [];
  const lines: { readonly level: string; readonly context: object; readonly message: string }[] = [];
  const log = (level: string) => (context: object, message: string) =>
    lines.push({ level, context, message });
  const open = () =>
    CertificateFiles.open({
      name: "listenTls",
      files,
      changed: (tls) => changes.push(tls),
      log: { info: log("info"), error: log("error") },
      clock: clock.read,
      pause: time.pause,
    });
  /** One look at the files, from one pause to the next. */
  const look = async (): Promise<void> => {
    await eventually("it waits", () => time.waiting === 1);
    const looks = time.asked.length;
    time.elapse();
    await eventually("it has looked", () => time.asked.length > looks);
  };
  return { files, write, clock, changes, lines, open, look };
}

function watched(t: Test, files: CertificateFiles): void {
  const stopping = new AbortController();
  const over = files.watch(stopping.signal);
  t.teardown(async () => {
    stopping.abort();
    await over;
  });
}

t.test("files that have changed are read again, and told once", { skip }, async (t) => {
  t.testdir();
  const [one, two] = [issued("one"), issued("two")];
  const { files, write, changes, lines, open, look } = await setUp(t, one);
  const certificate = await open();
  t.match(certificate.tls, { cert: one.cert, key: one.key, clientCa: authority?.cert });
  t.equal(certificate.tls.ticketKeys.length, 48);
  t.equal(certificate.expiry, new X509Certificate(one.cert).validToDate.getTime() / 1000);
  watched(t, certificate);
  await look();
  t.same(changes, []);
  write(two);
  await look();
  await look();
  t.match(changes, [{ cert: two.cert, key: two.key }]);
  t.match(certificate.tls, { cert: two.cert });
  t.match(lines, [{ level: "info", context: { setting: "listenTls" } }]);
  t.notSame(changes[0]?.ticketKeys, undefined);
  const stranger = new Authority(t.testdirName, "stranger");
  writeFileSync(files.clientCaFile, stranger.cert);
  await look();
  t.equal(changes.at(-1)?.clientCa, stranger.cert);
  t.notSame(changes[1]?.ticketKeys, changes[0]?.ticketKeys, "no session of before is resumed");
});

t.test("what cannot be used is told once for each change, and the one before stays", { skip }, async (t) => {
  t.testdir();
  const [one, two] = [issued("one"), issued("two")];
  const { files, write, changes, lines, open, look } = await setUp(t, one);
  const certificate = await open();
  watched(t, certificate);
  write({ cert: two.cert });
  await look();
  await look();
  t.match(lines, [{ level: "error", context: { reason: /does not belong to the key/ } }]);
  t.equal(lines.length, 1);
  write({ key: "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n" });
  await look();
  t.match(lines.at(-1), { level: "error", context: { reason: /private key in PEM/ } });
  rmSync(files.keyFile);
  await look();
  await look();
  t.match(lines.at(-1), { level: "error", context: { reason: /ENOENT/ } });
  t.equal(lines.length, 3);
  t.same(changes, []);
  t.equal(certificate.tls.cert, one.cert);
  t.notMatch(JSON.stringify(lines), /\nsecret|\\nsecret/);
  write({ key: two.key });
  await look();
  t.match(changes, [{ cert: two.cert, key: two.key }], "both are there after all");
});

t.test("keys of tickets are a day old at most", { skip }, async (t) => {
  t.testdir();
  const { clock, changes, lines, open, look } = await setUp(t, issued("one"));
  const certificate = await open();
  const { ticketKeys, ...rest } = certificate.tls;
  watched(t, certificate);
  clock.advance(day - 1);
  await look();
  t.same(changes, []);
  clock.advance(1);
  await look();
  await look();
  t.match(changes, [rest]);
  t.equal(changes.length, 1);
  t.notSame(certificate.tls.ticketKeys, ticketKeys);
  t.same(lines, []);
});

t.test("a start without files that can be used fails", { skip }, async (t) => {
  t.testdir();
  const { files, write, open } = await setUp(t, issued("one"));
  write({ key: issued("two").key });
  await t.rejects(open(), { message: /does not belong to the key/ });
  rmSync(files.certFile);
  await t.rejects(open(), { code: "ENOENT" });
});
