import t from "tap";
import { failureOfError, failureOfProblem } from "../../src/http/error.ts";
import { StoreError } from "../../src/ports/blobs.ts";
import { UpstreamError, type UpstreamErrorCode } from "../../src/ports/upstream.ts";
import { basicAuth } from "../fixtures/connected-upstream.ts";
import { makeImage } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

t.test("upstream's fault is 502 or 504, a limit 429, this node's fault 503, a bug 500", async (t) => {
  const statuses: Record<UpstreamErrorCode, number> = {
    unreachable: 502,
    timeout: 504,
    auth: 502,
    rate_limited: 429,
    server_error: 502,
    protocol: 502,
    redirect_refused: 502,
    circuit_open: 502,
    truncated: 502,
    range_refused: 502,
    digest_mismatch: 502,
    too_large: 502,
    layers_missing: 502,
    local: 503,
    offline: 502,
    drill: 502,
    not_cached: 504,
    loop: 508,
  };
  for (const [code, status] of Object.entries(statuses)) {
    t.equal(failureOfError(new UpstreamError(code as UpstreamErrorCode, "x")).status, status, code);
  }
  t.equal(failureOfError(new StoreError("io", "x")).status, 503);
  t.equal(failureOfError(new TypeError("secret inside")).status, 500);
  t.notMatch(failureOfError(new TypeError("secret inside")).message, /secret/);
});

t.test("when to ask again is passed on, between 1 and 60 seconds", async (t) => {
  for (const [given, sent] of [
    [undefined, "5"],
    [0, "1"],
    [2.5, "3"],
    [30, "30"],
    [3600, "60"],
  ] as const) {
    for (const code of ["rate_limited", "circuit_open"] as const) {
      const { headers } = failureOfError(new UpstreamError(code, "x", { retryAfter: given }));
      t.equal(headers?.["retry-after"], sent, code);
    }
  }
});

t.test("bad input is 400 with the OCI code that names it", async (t) => {
  t.equal(failureOfProblem("bad_name").code, "NAME_INVALID");
  t.equal(failureOfProblem("bad_digest").code, "DIGEST_INVALID");
  t.equal(failureOfProblem("unknown").status, 404);
});

t.test("what clients see for each state of the upstream; no challenge is ever relayed", async (t) => {
  const image = makeImage({ layers: [10] });
  const cases = [
    [{ status: 404 }, 404, { manifest: "MANIFEST_UNKNOWN", blob: "BLOB_UNKNOWN" }],
    [{ status: 410 }, 404, { manifest: "MANIFEST_UNKNOWN", blob: "BLOB_UNKNOWN" }],
    [{ status: 403 }, 403, { manifest: "DENIED", blob: "DENIED" }],
    [{ status: 401, headers: { "www-authenticate": 'Bearer realm="https://evil.example.com"' } }, 502],
    [
      { status: 429, headers: { "retry-after": "7" } },
      429,
      { manifest: "TOOMANYREQUESTS", blob: "TOOMANYREQUESTS" },
    ],
    [{ status: 500 }, 502],
    [{ status: 503 }, 502],
    [{ status: 508 }, 508],
    [{ reset: true }, 502],
    [{ hang: true }, 504],
    [{ html: true }, 502],
    [{ gzip: true }, 502],
  ] as const;
  // Each time as if it were the first: what was answered before may keep an upstream from being asked.
  for (const [at, [fault, status, codes]] of cases.entries())
    for (const [name, kind, path] of [
      ["tag", "manifest", "/v2/team/app/manifests/1"],
      ["digest", "manifest", `/v2/team/app/manifests/${image.digest}`],
      ["blob", "blob", `/v2/team/app/blobs/${image.layers[0]?.digest}`],
    ] as const)
      await t.test(`${name}, ${at}: ${JSON.stringify(fault).slice(0, 20)}`, async (t) => {
        const upstream = await startUpstream(t);
        const mirror = await startMirror(t, upstream, { upstream: { firstByteTimeout: 1_000 } });
        upstream.addImage("team/app", "1", image);
        // Where the account is proved it is accepted.
        upstream.fault(({ kind }) =>
          kind === "ping" && "status" in fault && fault.status === 403 ? undefined : fault,
        );
        const answer = await mirror.get(path);
        t.equal(answer.status, status);
        t.equal(answer.headers["content-type"], "application/json");
        t.equal(Number(answer.headers["content-length"]), answer.body.length);
        t.match(JSON.parse(answer.body.toString()), { errors: [{ code: codes?.[kind] ?? "UNAVAILABLE" }] });
        t.notOk(answer.headers["www-authenticate"]);
        t.equal(answer.headers["retry-after"], status === 429 ? "7" : undefined);
        const head = await mirror.ask("HEAD", path);
        // That a blob is there is the registry's word, whatever its bytes are encoded as.
        t.equal(head.status, "gzip" in fault && kind === "blob" ? 200 : status);
        t.equal(head.body.length, 0);
        t.equal(mirror.lines.filter(({ msg }) => String(msg).includes("nobody foresaw")).length, 0);
      });
});

t.test("operators hear of an account that is refused, and clients of an upstream that is gone", async (t) => {
  const upstream = await startUpstream(t, { password: "another" });
  const mirror = await startMirror(t, upstream, { upstream: { auth: basicAuth("ci", "s3cret") } });
  t.equal((await mirror.get("/v2/team/app/manifests/1")).status, 502);
  const alarm = await mirror.line(({ msg }) => String(msg).includes("refuses this mirror's credentials"));
  t.equal(alarm.level, "error");
  await upstream.stop();
  t.equal((await mirror.get("/v2/team/app/manifests/1")).status, 502, "refused");
});
