import fc from "fast-check";
import t from "tap";
import {
  formatDuration,
  formatPercent,
  formatSize,
  parseDuration,
  parsePercent,
  parseSize,
} from "../../src/config/units.ts";

const anyDuration = { min: 0, max: Number.MAX_SAFE_INTEGER, forever: false };

t.test("durations are milliseconds", async (t) => {
  for (const [text, value] of [
    ["500ms", 500],
    ["60s", 60_000],
    ["10m", 600_000],
    ["1.5h", 5_400_000],
    ["7d", 604_800_000],
    ["0s", 0],
    ["60 s", 60_000],
    ["0.5s", 500],
  ] as const) {
    t.same(parseDuration(text, anyDuration), { value }, text);
  }
});

t.test("a duration without a unit is refused, and the answer shows how to write it", async (t) => {
  t.same(parseDuration("500", anyDuration), {
    expected: "a unit after the number: 500ms, 500s, 500m, 500h or 500d",
  });
  t.match(parseDuration("0", anyDuration), { expected: /0s/ });
});

t.test("what is no duration", async (t) => {
  for (const text of [
    "",
    "s",
    "-1s",
    "1w",
    "1y",
    "60S",
    "1m30s",
    "1e3s",
    ".5s",
    "60sec",
    "0x10s",
    "s60",
    " 60s",
    "60  s",
  ]) {
    t.match(parseDuration(text, anyDuration), { expected: /^a duration with a unit/ }, JSON.stringify(text));
  }
});

t.test("forever only where it is allowed", async (t) => {
  t.same(parseDuration("forever", { ...anyDuration, forever: true }), { value: Number.POSITIVE_INFINITY });
  t.match(parseDuration("forever", anyDuration), { expected: /^a duration with a unit/ });
  t.match(parseDuration("x", { ...anyDuration, forever: true }), { expected: /or forever$/ });
});

t.test("durations keep to their bounds, ends included", async (t) => {
  const bounds = { min: 1, max: 86_400_000, forever: false };
  t.same(parseDuration("1ms", bounds), { value: 1 });
  t.same(parseDuration("1d", bounds), { value: 86_400_000 });
  t.same(parseDuration("0s", bounds), { expected: "at least 1ms" });
  t.same(parseDuration("86400001ms", bounds), { expected: "at most 1d" });
});

t.test("sizes are bytes, decimal and binary", async (t) => {
  for (const [text, value] of [
    ["1B", 1],
    ["1kB", 1000],
    ["1KB", 1000],
    ["1KiB", 1024],
    ["50GB", 50_000_000_000],
    ["512MiB", 536_870_912],
    ["1.5TiB", 1_649_267_441_664],
    ["1.1TiB", 1_209_462_790_553],
    ["0.3GB", 300_000_000],
    ["2.675PB", 2_675_000_000_000_000],
    ["50 GB", 50_000_000_000],
  ] as const) {
    t.same(parseSize(text, 0), { value }, text);
  }
});

t.test("what is no size", async (t) => {
  t.same(parseSize("50", 0), { expected: "a unit after the number: 50MB, 50GB, 50MiB or 50GiB" });
  for (const text of ["", "GB", "50G", "50Gi", "50gb", "50Gb", "-1GB", "1e9B", "50GBs", "1,5GB", "1EB"]) {
    t.same(parseSize(text, 0), { expected: "a size with a unit, such as 50GB, 512MiB or 1.5TiB" }, text);
  }
  t.same(parseSize("999kB", 1_000_000), { expected: "at least 1MB" });
  t.same(parseSize("1000PB", 0), { expected: "less than 8PiB" });
});

t.test("percentages are fractions", async (t) => {
  t.same(parsePercent("90%", 1, 100), { value: 0.9 });
  t.same(parsePercent("12.5 %", 1, 100), { value: 0.125 });
  t.same(parsePercent("0.9", 1, 100), { expected: "a percentage with its sign, such as 100%" });
  t.same(parsePercent("90", 1, 100), { expected: "a percentage with its sign, such as 100%" });
  t.same(parsePercent("101%", 1, 100), { expected: "a percentage from 1% to 100%" });
  t.same(parsePercent("0%", 1, 100), { expected: "a percentage from 1% to 100%" });
});

t.test("what is formatted is short, and is read back as the same value", async (t) => {
  t.equal(formatDuration(604_800_000), "7d");
  t.equal(formatDuration(90_000), "90s");
  t.equal(formatDuration(0), "0s");
  t.equal(formatDuration(Number.POSITIVE_INFINITY), "forever");
  t.equal(formatSize(50_000_000_000), "50GB");
  t.equal(formatSize(536_870_912), "512MiB");
  t.equal(formatSize(1_000), "1KB");
  t.equal(formatSize(1_000_001), "1000001B");
  t.equal(formatPercent(0.9), "90%");
  t.equal(formatPercent(0.29), "29%");
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 40 }), (milliseconds) => {
      t.same(parseDuration(formatDuration(milliseconds), anyDuration), { value: milliseconds });
    }),
    { numRuns: 200 },
  );
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2 ** 30 }),
      fc.constantFrom(1, 1000, 1024, 1024 ** 2),
      (count, unit) => {
        t.same(parseSize(formatSize(count * unit), 0), { value: count * unit });
      },
    ),
    { numRuns: 200 },
  );
});
