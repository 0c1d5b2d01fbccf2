import fc from "fast-check";
import t from "tap";
import { contentRange, parseRange, unsatisfiedRange } from "../../src/oci/range.ts";
import { cpuTime } from "../fixtures/cpu-time.ts";

const none = { kind: "none" };
const unsatisfiable = { kind: "unsatisfiable" };

function single(start: number, end: number): object {
  return { kind: "ranges", ranges: [{ start, end }], multipart: false };
}

function several(...pairs: (readonly [number, number])[]): object {
  return { kind: "ranges", ranges: pairs.map(([start, end]) => ({ start, end })), multipart: true };
}

t.test("one range", async (t) => {
  const cases: [string, object][] = [
    ["bytes=0-", single(0, 99)],
    ["bytes=0-1", single(0, 1)],
    ["bytes=0-0", single(0, 0)],
    ["bytes=99-", single(99, 99)],
    ["bytes=98-99", single(98, 99)],
    ["bytes=98-100", single(98, 99)],
    ["bytes=10-1000000", single(10, 99)],
    ["bytes=-1", single(99, 99)],
    ["bytes=-100", single(0, 99)],
    ["bytes=-101", single(0, 99)],
    ["bytes=007-0010", single(7, 10)],
    ["BYTES=1-2", single(1, 2)],
    ["bytes= \t1-2 \t", single(1, 2)],
    ["bytes=,1-2,", single(1, 2)],
  ];
  for (const [header, expected] of cases) t.strictSame(parseRange(header, 100), expected, header);
});

t.test("a range after the end is unsatisfiable", async (t) => {
  for (const header of [
    "bytes=100-",
    "bytes=100-200",
    "bytes=101-101",
    "bytes=-0",
    "bytes=-00,100-,200-300",
  ]) {
    t.strictSame(parseRange(header, 100), unsatisfiable, header);
  }
});

t.test("no header, another unit and malformed lists are ignored", async (t) => {
  const headers = [
    undefined,
    "",
    "bytes",
    "bytes=",
    "bytes=,",
    "bytes= ",
    "bytes = 0-1",
    "bytes:0-1",
    "bytes-1",
    " bytes=0-1",
    "items=0-1",
    "xbytes=0-1",
    "bytes=-",
    "bytes=--1",
    "bytes=0--1",
    "bytes=1",
    "bytes=a-b",
    "bytes=1-b",
    "bytes=0x1-2",
    "bytes=1.0-2",
    "bytes=+1-2",
    "bytes=1 - 2",
    "bytes=1-2x",
    "bytes=1-2;3-4",
    "bytes=2-1",
    "bytes=200-150",
    "bytes=0-1,5-4",
    "bytes=0-1,x",
    "bytes=0-1, bytes=2-3",
    "bytes=١-٢",
    "bytes=\xa00-1",
  ];
  for (const header of headers) t.strictSame(parseRange(header, 1000), none, JSON.stringify(header));
});

t.test("several ranges come back one for one and in their order", async (t) => {
  const cases: [string, object][] = [
    ["bytes=0-1,5-6", several([0, 1], [5, 6])],
    ["bytes=5-6,0-1", several([5, 6], [0, 1])],
    ["bytes=0-9,10-19", several([0, 9], [10, 19])],
    ["bytes=0-9 ,\t5-14", several([0, 9], [5, 14])],
    ["bytes=0-0,0-0", several([0, 0], [0, 0])],
    ["bytes=0-0,,-1", several([0, 0], [99, 99])],
    ["bytes=0-0,90-", several([0, 0], [90, 99])],
  ];
  for (const [header, expected] of cases) t.strictSame(parseRange(header, 100), expected, header);
});

t.test("what is left of several ranges is still several", async (t) => {
  t.strictSame(parseRange("bytes=3-4,100-", 100), several([3, 4]));
  t.strictSame(parseRange("bytes=-0,3-4", 100), several([3, 4]));
});

t.test("ranges that add up to more than the blob are the blob", async (t) => {
  t.strictSame(parseRange("bytes=0-,0-0", 100), none);
  t.strictSame(parseRange("bytes=0-49,50-99", 100), several([0, 49], [50, 99]));
  t.strictSame(parseRange("bytes=0-50,50-99", 100), none);
  t.strictSame(parseRange(`bytes=${"0-,".repeat(1000)}`, 2 ** 53 - 1), none);
});

t.test("an empty blob has no ranges", async (t) => {
  for (const header of ["bytes=0-", "bytes=-1", "bytes=5-", "bytes=0-0"])
    t.strictSame(parseRange(header, 0), none);
});

t.test("numbers no file reaches are past the end", async (t) => {
  const huge = ["9007199254740992", "18446744073709551616", "9".repeat(400)];
  for (const number of huge) {
    for (const size of [1, 100, Number.MAX_SAFE_INTEGER]) {
      t.strictSame(parseRange(`bytes=${number}-`, size), unsatisfiable);
      t.strictSame(parseRange(`bytes=0-${number}`, size), single(0, size - 1));
      t.strictSame(parseRange(`bytes=-${number}`, size), single(0, size - 1));
    }
  }
  const size = Number.MAX_SAFE_INTEGER;
  t.strictSame(parseRange(`bytes=${size - 1}-`, size), single(size - 1, size - 1));
});

t.test("1,024 ranges are served, 1,025 are not", async (t) => {
  const list = (count: number): string =>
    `bytes=${Array.from({ length: count }, (_, at) => `${at * 10}-${at * 10 + 4}`).join(",")}`;
  const served = parseRange(list(1024), 20_000);
  t.equal(served.kind === "ranges" && served.ranges.length, 1024);
  t.strictSame(parseRange(list(1025), 20_000), none);
  t.strictSame(parseRange(`bytes=${"500-,".repeat(1025)}`, 100), none, "nor when none could be");
  t.strictSame(parseRange(`bytes=${",".repeat(5000)}0-1`, 100), single(0, 1), "empty elements are no ranges");
});

t.test("a header of 32 KiB is read, a longer one is not", async (t) => {
  const padded = (length: number): string => `bytes=${"0-1".padStart(length - "bytes=".length)}`;
  t.strictSame(parseRange(padded(32 * 1024), 100), single(0, 1));
  t.strictSame(parseRange(padded(32 * 1024 + 1), 100), none);
});

t.test("hostile headers take no time", async (t) => {
  const spent = cpuTime(() => {
    const fill = 32 * 1024 - "bytes=".length;
    for (const unit of [" ", "0", ",", "-", "0-", "0-,", " ,", " 0", "0 "]) {
      const header = `bytes=${unit.repeat(fill / unit.length - 1)}x`;
      t.strictSame(parseRange(header, 100), none, unit);
    }
  });
  t.ok(spent < 1000, `${spent} ms`);
});

t.test("the same bytes as a model that tries every byte", async () => {
  const number = fc.nat(40);
  const spec = fc.oneof(
    fc.record({ first: number, last: number }),
    fc.record({ first: number }),
    fc.record({ suffix: number }),
  );
  type Spec = { first?: number; last?: number; suffix?: number };
  const text = ({ first, last, suffix }: Spec): string =>
    suffix === undefined ? `${first}-${last ?? ""}` : `-${suffix}`;
  const bytesOf = ({ first = 0, last = Number.POSITIVE_INFINITY, suffix }: Spec, size: number): number[] =>
    Array.from({ length: size }, (_, at) => at).filter((at) =>
      suffix === undefined ? at >= first && at <= last : at >= size - suffix,
    );
  fc.assert(
    fc.property(
      fc.array(spec, { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 1, max: 40 }),
      (specs, size) => {
        const answer = parseRange(`bytes=${specs.map(text).join(", ")}`, size);
        const wanted = specs.map((one) => bytesOf(one, size)).filter((bytes) => bytes.length > 0);
        const malformed = specs.some((one) => "last" in one && "first" in one && one.last < one.first);
        if (malformed || wanted.flat().length > size) return answer.kind === "none";
        if (wanted.length === 0) return answer.kind === "unsatisfiable";
        if (answer.kind !== "ranges" || answer.multipart !== specs.length > 1) return false;
        const got = answer.ranges.map(({ start, end }) => bytesOf({ first: start, last: end }, size));
        return JSON.stringify(got) === JSON.stringify(wanted) && answer.ranges.every(({ end }) => end < size);
      },
    ),
    { numRuns: 2000 },
  );
});

t.test("whatever the header, ranges lie in the blob", async () => {
  const noise = fc.string({ unit: fc.constantFrom(..."0123456789-, \t=bytes"), maxLength: 30 });
  fc.assert(
    fc.property(noise, fc.nat(50), (list, size) => {
      const answer = parseRange(`bytes=${list}`, size);
      return (
        answer.kind !== "ranges" ||
        answer.ranges.every(({ start, end }) => 0 <= start && start <= end && end < size)
      );
    }),
    { numRuns: 2000 },
  );
});

t.test("Content-Range", async (t) => {
  t.equal(contentRange(0, 1, 100), "bytes 0-1/100");
  t.equal(unsatisfiedRange(100), "bytes */100");
});
