import fc from "fast-check";
import t from "tap";
import { jsonExcess } from "../../src/oci/json-depth.ts";

const deeper = (text: string, depth: number): boolean =>
  jsonExcess(Buffer.from(text), { depth, values: Number.POSITIVE_INFINITY }) === "depth";

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

t.test("values are counted, and names apart from them", async (t) => {
  const excess = (text: string, values: number, names?: number): string | undefined =>
    jsonExcess(Buffer.from(text), { depth: 8, values, ...(names === undefined ? {} : { names }) });
  t.equal(excess("[1,2,3]", 3), undefined);
  t.equal(excess("[1,2,3]", 2), "count");
  t.equal(excess('{"a":1,"b":[]}', 3), undefined);
  t.equal(excess('{"a":1,"b":[]}', 2), "count");
  t.equal(excess("[{},{}]", 3), "count", "an empty object is a value");
  t.equal(excess('[",,,:::[[[","\\",,"]', 2), undefined, "what is in strings is not");
  t.equal(excess('["a","b","c"]', 9, 1), undefined);
  t.equal(excess('[{"a":1}]', 9, 3), undefined);
  t.equal(excess('[{"a":1}]', 9, 2), "count");
  t.equal(excess("[[[]]]", 9, 2), "count");
});

t.test("no fewer than JSON.parse makes", async () => {
  const valuesIn = (value: unknown): number =>
    typeof value === "object" && value !== null
      ? Object.values(value).reduce((sum: number, part) => sum + valuesIn(part), 1)
      : 1;
  fc.assert(
    fc.property(fc.json({ maxDepth: 8 }), fc.nat(20), (text, values) => {
      const json: unknown = JSON.parse(text);
      return valuesIn(json) <= values + 1 || jsonExcess(Buffer.from(text), { depth: 99, values }) === "count";
    }),
  );
});
