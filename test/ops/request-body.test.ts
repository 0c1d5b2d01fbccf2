import type { IncomingMessage } from "node:http";
import { PassThrough } from "node:stream";
import { mock } from "node:test";
import t from "tap";
import { bodyOf } from "../../src/ops/request-body.ts";

function requestOf(headers: IncomingMessage["headers"] = {}): PassThrough & IncomingMessage {
  return Object.assign(new PassThrough(), { headers }) as unknown as PassThrough & IncomingMessage;
}

t.test("a body that does not come to its end within ten seconds is broken off", async (t) => {
  mock.timers.enable({ apis: ["setTimeout"] });
  t.teardown(() => mock.timers.reset());
  const [slow, whole] = [requestOf(), requestOf()];
  const bodies = [bodyOf(slow), bodyOf(whole)];
  slow.write("{");
  whole.end("{}");
  t.same(await bodies[1], Buffer.from("{}"));
  mock.timers.tick(10_000);
  t.equal(await bodies[0], "broken_off");
  t.ok(slow.destroyed);
  t.equal(whole.errored, null);
});

t.test("one above the bound is not read to its end", async (t) => {
  t.equal(await bodyOf(requestOf({ "content-length": "11" }), 10), "too_large");
  const unsaid = requestOf();
  const body = bodyOf(unsaid, 10);
  unsaid.write(Buffer.alloc(11));
  t.equal(await body, "too_large");
  const right = requestOf();
  right.end(Buffer.alloc(10));
  t.same(await bodyOf(right, 10), Buffer.alloc(10));
});
