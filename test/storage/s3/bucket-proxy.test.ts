// An S3 that is reached through a proxy only.
import t from "tap";
import { digestOf, someBytes } from "../../fixtures/blob-store-suite.ts";
import { openS3, s3ConfigOf } from "../../fixtures/s3-fixture.ts";
import { startProxy } from "../../fixtures/scripted-proxy.ts";
import { startS3 } from "../../fixtures/scripted-s3.ts";
import { fetchShared, noSignal, share } from "../../fixtures/shared-blobs-suite.ts";

const bytes = someBytes(100_000);
const digest = digestOf(bytes);
const account = "mirror:hunter2";
const place = "s3.corp.invalid:9000";

t.test("what is shared goes through either kind of proxy", async (t) => {
  for (const scheme of ["http", "socks5"] as const) {
    const s3 = await startS3(t);
    const proxy = await startProxy(t, { account });
    proxy.ports.set(place, Number(s3.url.port));
    const server = proxy.server(scheme);
    const over = { proxy: { http: server, https: server, noProxy: [] } };
    const { blobs } = openS3(t, s3ConfigOf(new URL(`http://${place}`), over));
    await share(blobs, bytes);
    t.ok((await fetchShared(blobs, digest))?.bytes.equals(bytes));
    t.ok(proxy.requests.length > 0);
    const by = scheme === "http" ? "forward" : scheme;
    t.ok(proxy.requests.every((each) => each.by === by && each.to === place && each.account === account));
  }
});

t.test("a proxy that is down is named, without its account", async (t) => {
  const proxy = await startProxy(t, { account });
  const server = proxy.server();
  await proxy.stop();
  const over = { proxy: { http: server, https: server, noProxy: [] } };
  const { blobs } = openS3(t, s3ConfigOf(new URL(`http://${place}`), over));
  const error = await blobs.open(digest, 0, noSignal()).then(
    () => undefined,
    (error: unknown) => error as Error,
  );
  t.match(
    error?.message,
    /^S3 bucket blobs: cannot .*: the proxy http:\/\/127\.0\.0\.1:\d+ could not be reached/,
  );
  t.notMatch(String(error?.message), /hunter2/);
});

t.test("an S3 on this machine is asked directly", async (t) => {
  const s3 = await startS3(t);
  const proxy = await startProxy(t);
  const server = proxy.server();
  const over = { proxy: { http: server, https: server, noProxy: [] } };
  const { blobs } = openS3(t, s3ConfigOf(s3.url, over));
  await share(blobs, bytes);
  t.equal(proxy.requests.length, 0);
});
