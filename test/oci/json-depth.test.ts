import fc from "fast-check";
import t from "tap";
import { nestsDeeper } from "../../src/oci/json-depth.ts";

const deeper = (text: string, limit: number): boolean => nestsDeeper(Buffer.from(text), limit);

t.test("objects and arrays count, one below the other", async (t) => {
  t.equal(deeper("", 0), false);
  t.equal(deeper("1", 0), false);
  t.equal(deeper("[]", 0), true);
  t.equal(deeper("{}", 0), true);
  t.equal(deeper("[[]]", 1), true);
  t.equal(deeper('{"a":{}}', 1), true);
  t.equal(deeper('[{"a":[]}]', 3), false);
  t.equal(deeper('[{"a":[]}]', 2), true);
});

t.test("siblings do not", async (t) => {
  t.equal(deeper("[[],[],[]]", 2), false);
  t.equal(deeper('{"a":{},"b":{}}', 2), false);
});

t.test("brackets in strings do not, whatever is escaped there", async (t) => {
  t.equal(deeper('"[[["', 0), false);
  t.equal(deeper('"\\"[[["', 0), false);
  t.equal(deeper('["\\\\",[]]', 1), true);
  t.equal(deeper('["\\\\"]', 1), false);
  t.equal(deeper('["é[","{"]', 1), false);
});

t.test("an unfinished or unbalanced text is read to its end", async (t) => {
  t.equal(deeper('"\\', 0), false);
  t.equal(deeper("]]]", 0), false);
  t.equal(deeper("zZ;()<>", 0), false);
  t.equal(deeper("[|\\[]", 1), true);
  t.equal(deeper('"[', 0), false);
});

t.test("agrees with JSON.parse", async () => {
  const depthOf = (value: unknown): number =>
    typeof value === "object" && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depthOf)) : 0;
  fc.assert(
    fc.property(fc.json({ maxDepth: 8 }), fc.nat(6), (text, limit) => {
      return deeper(text, limit) === depthOf(JSON.parse(text)) > limit;
    }),
  );
});
