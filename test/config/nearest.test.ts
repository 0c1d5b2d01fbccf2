import t from "tap";
import { nearest } from "../../src/config/nearest.ts";

const names = ["upstream.connectTimeout", "upstream.idleTimeout", "cache.dir", "cache.maxSize"];

t.test("a slip of the finger, another case or another separator is recognised", async (t) => {
  t.equal(nearest("upstream.conectTimeout", names), "upstream.connectTimeout");
  t.equal(nearest("upstream.connect_timeout", names), "upstream.connectTimeout");
  t.equal(nearest("CACHE-DIR", names), "cache.dir");
  t.equal(nearest("cache.dri", names), "cache.dir");
});

t.test("something else is not", async (t) => {
  t.equal(nearest("proxy", names), undefined);
  t.equal(nearest("", names), undefined);
  t.equal(nearest("x".repeat(100_000), names), undefined);
});
