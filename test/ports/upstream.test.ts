import t from "tap";
import { StoreError } from "../../src/ports/blobs.ts";
import { UpstreamError } from "../../src/ports/upstream.ts";

t.test("errors carry their code and their cause, and what upstream said", async (t) => {
  const cause = new Error("ENOSPC");
  const full = new StoreError("no_space", "the disk is full", { cause });
  t.match(full, { name: "StoreError", code: "no_space", message: "the disk is full", cause });
  t.ok(full instanceof Error);
  const limited = new UpstreamError("rate_limited", "slow down", { status: 429, retryAfter: 7, cause });
  t.match(limited, { name: "UpstreamError", code: "rate_limited", status: 429, retryAfter: 7, cause });
  const plain = new UpstreamError("timeout", "too slow");
  t.same([plain.status, plain.retryAfter, plain.cause], [undefined, undefined, undefined]);
});
