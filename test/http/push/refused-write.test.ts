import t from "tap";
import { digestsNamed, failureOfRefusal, resultOfRefusal } from "../../../src/http/push/refused-write.ts";
import { writeRequest } from "../../../src/http/push/write-request.ts";
import { parseTarget, type Route } from "../../../src/oci/route.ts";

const digest = `sha256:${"a".repeat(64)}`;

function write(method: string, target: string): NonNullable<ReturnType<typeof writeRequest>> {
  const found = writeRequest(parseTarget(target) as Route, method);
  if (found === undefined) throw new Error(`${method} ${target} does not pass`);
  return found;
}

const put = write("PUT", "/v2/app/manifests/1");

t.test("upstream's words are passed on where they are of the API, else its message", async (t) => {
  const body = `{"errors":[{"code":"MANIFEST_INVALID","message":"no"},{"x":1}]}`;
  t.match(failureOfRefusal(put, 400, body, undefined), { status: 400, body });
  const other = failureOfRefusal(put, 403, `{"errors":[{"status":403,"message":"policy"}]}`, undefined);
  t.strictSame(other, { status: 403, code: "DENIED", message: "policy" });
  const long = JSON.stringify({ errors: [{ message: "x".repeat(9_000) }] });
  t.equal(failureOfRefusal(put, 400, long, undefined).message.length, 500);
  const odd = [
    undefined,
    "",
    "<html>",
    "null",
    "[]",
    "{}",
    `{"errors":{}}`,
    `{"errors":[]}`,
    `{"errors":[null]}`,
  ];
  for (const text of [...odd, `{"errors":[{"code":1,"message":2}]}`]) {
    const failure = failureOfRefusal(put, 409, text, undefined);
    t.strictSame(failure, {
      status: 409,
      code: "UNKNOWN",
      message: "the upstream registry refuses the write (409)",
    });
  }
});

t.test("what is not there is named for what it is", async (t) => {
  for (const [method, target, code] of [
    ["DELETE", "/v2/app/manifests/1", "MANIFEST_UNKNOWN"],
    ["DELETE", `/v2/app/blobs/${digest}`, "BLOB_UNKNOWN"],
    ["PATCH", "/v2/app/blobs/uploads/id", "BLOB_UPLOAD_UNKNOWN"],
  ] as const) {
    t.match(failureOfRefusal(write(method, target), 404, undefined, undefined), { status: 404, code });
  }
});

t.test("upstream's own trouble is 502, and 503 stays this node's word", async (t) => {
  for (const status of [407, 500, 502, 503, 504, 507]) {
    const failure = failureOfRefusal(put, status, undefined, undefined);
    t.match(failure, { status: 502, code: "UNAVAILABLE" });
    t.equal(resultOfRefusal(failure), "error");
  }
  t.equal(resultOfRefusal(failureOfRefusal(put, 403, undefined, undefined)), "denied");
  t.equal(resultOfRefusal(failureOfRefusal(put, 404, undefined, undefined)), "pass");
  t.equal(resultOfRefusal(failureOfRefusal(put, 429, undefined, "3")), "error");
});

t.test("digests in an error, each once, at most a hundred", async (t) => {
  t.strictSame(digestsNamed(`{"detail":"${digest}","x":["${digest}"]}`), [digest]);
  t.strictSame(digestsNamed(`sha256:${"a".repeat(65)} sha256:short sha512:${"b".repeat(64)}`), []);
  t.strictSame(digestsNamed(undefined), []);
  const many = Array.from({ length: 200 }, (_, at) => `sha256:${String(at).padStart(64, "0")}`);
  t.equal(digestsNamed(many.join(" ")).length, 100);
});
