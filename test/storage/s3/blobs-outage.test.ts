// An S3 that is gone, silent or refuses everything: it delays little, then nothing, and is used again without a
// restart.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { S3Config } from "../../../src/config/config.ts";
import { secretFile } from "../../../src/config/secret-file.ts";
import { Secret } from "../../../src/ports/secret.ts";
import { digestOf, someBytes } from "../../fixtures/blob-store-suite.ts";
import { atOnce, eventually, ManualPause, quiet } from "../../fixtures/manual-time.ts";
import { hurried, openS3, s3ConfigOf, secretOf, unhurried } from "../../fixtures/s3-fixture.ts";
import { startS3 } from "../../fixtures/scripted-s3.ts";
import { fetchShared, noSignal, share } from "../../fixtures/shared-blobs-suite.ts";

const bytes = someBytes(100_000);
const digest = digestOf(bytes);

async function started(t: Test, over: Partial<S3Config> = {}) {
  const s3 = await startS3(t);
  const time = new ManualPause();
  const timing = { ...unhurried };
  const opened = openS3(t, s3ConfigOf(s3.url, over), { pause: time.pause, timing });
  /** From now on S3 answers nothing, and the time-outs are short. */
  const hang = () => {
    const lifted = s3.fault(() => ({ hang: true }));
    Object.assign(timing, hurried);
    return () => {
      Object.assign(timing, unhurried);
      lifted();
    };
  };
  /** Lets probes through until the circuit closes. */
  const recovered = () =>
    eventually("S3 is asked again", () => {
      time.elapse();
      return opened.blobs.state === "closed";
    });
  return { s3, time, hang, recovered, ...opened };
}

t.test("hung: the first few wait, then nobody, and then it works again", async (t) => {
  const { s3, blobs, notices, states, hang, recovered } = await started(t);
  await share(blobs, bytes);
  const lifted = hang();
  for (let i = 0; i < 3; i++) await t.rejects(blobs.open(digest, 0, noSignal()), { name: "StoreError" });
  t.equal(blobs.state, "open");
  for (let i = 0; i < 100; i++) {
    await t.rejects(atOnce(blobs.open(digest, 0, noSignal())), { code: "unavailable" });
    await t.rejects(atOnce(share(blobs, bytes)), { code: "unavailable" });
  }
  // One that was given up may reach a busy server later, or never.
  t.ok(s3.count("get") <= 3 && s3.count("put") === 1, "it is left alone");
  t.equal(notices.length, 3, "and not complained about for ever");
  lifted();
  await recovered();
  t.ok((await fetchShared(blobs, digest))?.bytes.equals(bytes));
  t.match(states, ["open", "half_open"]);
  t.equal(states.at(-1), "closed");
});

t.test("a probe that hangs keeps it open, and nobody else waiting", async (t) => {
  const { time, blobs, hang } = await started(t);
  hang();
  for (let i = 0; i < 3; i++) await t.rejects(blobs.head(digest), { name: "StoreError" });
  await eventually("a probe is planned", () => time.waiting === 1);
  time.elapse();
  await eventually("it is under way", () => blobs.state === "half_open");
  await t.rejects(atOnce(blobs.head(digest)), { message: /not asked for now/ });
  await eventually("the next one is planned", () => time.waiting === 1);
  t.equal(blobs.state, "open");
});

t.test("down at start, and up later", async (t) => {
  const { s3, blobs, recovered } = await started(t);
  await s3.stop();
  for (let i = 0; i < 3; i++) {
    await t.rejects(blobs.open(digest, 0, noSignal()), { message: /ECONNREFUSED/ });
  }
  t.equal(blobs.state, "open");
  await s3.start();
  await recovered();
  await share(blobs, bytes);
  t.ok((await fetchShared(blobs, digest))?.bytes.equals(bytes));
});

t.test("restarted between two questions: the dead connection costs a second try", async (t) => {
  const { s3, blobs, notices } = await started(t);
  await share(blobs, bytes);
  await s3.stop();
  await s3.start();
  t.ok((await fetchShared(blobs, digest))?.bytes.equals(bytes));
  t.same(notices, []);
});

t.test("wrong credentials, put right in their file", async (t) => {
  const path = join(t.testdir({ id: "wrong" }), "id");
  let now = 0;
  const accessKeyId = secretFile({
    path,
    name: "the file",
    initial: new Secret("wrong"),
    parse: (text) => new Secret(text),
    clock: () => (now += 1_000),
  });
  const credentials = { accessKeyId, secretAccessKey: secretOf("secret") };
  const { blobs, recovered } = await started(t, { credentials });
  for (let i = 0; i < 3; i++) {
    await t.rejects(blobs.open(digest, 0, noSignal()), { message: /403 InvalidAccessKeyId/ });
  }
  t.equal(blobs.state, "open");
  writeFileSync(path, "key");
  await recovered();
  await share(blobs, bytes);
});

t.test("closed: probes end, and questions fail", async (t) => {
  const { s3, time, blobs } = await started(t);
  await s3.stop();
  for (let i = 0; i < 3; i++) await t.rejects(blobs.head(digest), { name: "StoreError" });
  await eventually("a probe is planned", () => time.waiting === 1);
  blobs.close();
  blobs.close();
  await quiet();
  t.equal(time.waiting, 0);
  await t.rejects(blobs.head(digest), { name: "StoreError", code: "closed" });
});
