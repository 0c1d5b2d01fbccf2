import t from "tap";
import { Health } from "../../src/ops/health.ts";

t.test("a node is not ready before it listens and its store answers", (t) => {
  const health = new Health();
  t.equal(health.ready(), false);
  t.strictSame(health.report(), ["listening failed: not yet", "store failed: not yet", "draining no"]);
  health.set("listening", true);
  t.equal(health.ready(), false);
  health.set("store", true);
  t.equal(health.ready(), true);
  t.strictSame(health.report(), ["listening ok", "store ok", "draining no"]);
  health.set("store", false, "EIO");
  t.equal(health.ready(), false);
  t.equal(health.report()[1], "store failed: EIO");
  health.set("store", true, "read-only");
  t.equal(health.ready(), true, "what is here can still be served");
  t.equal(health.report()[1], "store ok: read-only");
  t.end();
});

t.test("neither upstream nor Redis takes a node out of rotation", (t) => {
  const health = new Health();
  health.set("listening", true);
  health.set("store", true);
  health.set("upstream hub", false, "unreachable for 5 min");
  health.set("redis", false);
  t.equal(health.ready(), true);
  t.strictSame(health.report(), [
    "listening ok",
    "store ok",
    "draining no",
    "upstream hub failed: unreachable for 5 min (not required)",
    "redis failed (not required)",
  ]);
  t.end();
});

t.test("a check can be made required, and stays it", (t) => {
  const health = new Health();
  health.set("listening", true);
  health.set("store", true);
  health.set("license", false, undefined, true);
  t.equal(health.ready(), false);
  health.set("license", true);
  t.equal(health.ready(), true);
  health.set("license", false);
  t.equal(health.ready(), false);
  t.end();
});

t.test("draining is not ready, until it is called off", (t) => {
  const health = new Health();
  health.set("listening", true);
  health.set("store", true);
  health.draining(true);
  t.equal(health.ready(), false);
  t.equal(health.isDraining(), true);
  t.ok(health.report().includes("draining yes"));
  health.draining(false);
  t.equal(health.ready(), true);
  t.end();
});

t.test("a report has one short line per check, whatever an error says", (t) => {
  const health = new Health();
  health.set("store", false, `a\r\nlistening ok\u2028\u0000${"x".repeat(10_000)}`);
  const line = health.report()[1] as string;
  t.match(line, /^store failed: a {2}listening ok {2}x+$/);
  t.ok(line.length < 250);
  t.end();
});

t.test("what keeps a node from being ready", (t) => {
  const health = new Health();
  health.set("listening", true);
  health.set("store", false, "EIO");
  health.set("redis", false, "refused");
  health.draining(true);
  t.strictSame(health.failing(), ["store failed: EIO"]);
  t.end();
});
