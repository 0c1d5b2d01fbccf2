import t from "tap";
import {
  count,
  duration,
  money,
  number,
  rate,
  share,
  shortDigest,
  signedSize,
  size,
} from "../../../src/ops/page/format.ts";

t.test("numbers as people read them", (t) => {
  const cases: readonly [string, string][] = [
    [size(0), "0 B"],
    [size(999), "999 B"],
    [size(999.6), "1.00 kB"],
    [size(1500), "1.50 kB"],
    [size(12_345_678), "12.3 MB"],
    [size(999_999_999), "1.00 GB"],
    [size(5e17), "500 PB"],
    [size(5e20), "500000 PB"],
    [size(-1), "0 B"],
    [rate(1.25e9), "1.25 GB/s"],
    [duration(0), "0 ms"],
    [duration(0.34), "0.3 ms"],
    [duration(850), "850 ms"],
    [duration(999.7), "1.0 s"],
    [duration(59_000), "59 s"],
    [duration(120_000), "2 min"],
    [duration(7_200_000), "2 h"],
    [duration(3 * 86_400_000), "3 days"],
    [duration(-5), "0 ms"],
    [share(null), "–"],
    [share(0), "0%"],
    [share(1), "100%"],
    [share(0.99999), "99.9%"],
    [share(0.5), "50.0%"],
    [number(1234567), "1,234,567"],
    [number(999), "999"],
    [count(1, "tag"), "1 tag"],
    [count(2000, "tag"), "2,000 tags"],
    [shortDigest(`sha256:${"ab".repeat(32)}`), "sha256:abababababab"],
  ];
  for (const [found, wanted] of cases) t.equal(found, wanted);
  t.end();
});

t.test("amounts", (t) => {
  t.equal(signedSize(1500), "1.50 kB");
  t.equal(signedSize(-1500), "−1.50 kB");
  t.equal(money(null, "EUR"), "–");
  t.equal(money(1.005, null), "1.00");
  t.end();
});
