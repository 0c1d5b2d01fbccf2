import { Registry } from "prom-client";
import t from "tap";
import { SeriesCounter } from "../../../src/telemetry/metrics/series-counter.ts";

function counterOf(labelNames: readonly string[]) {
  const registry = new Registry();
  const counter = new SeriesCounter({ name: "answers_total", help: "Answers.", labelNames, registry });
  const lines = async () =>
    (await registry.metrics()).split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return { counter, lines };
}

t.test("every scrape shows all that was counted, once", async (t) => {
  const { counter, lines } = counterOf(["route", "method", "code"]);
  counter.add(1, "blob", "GET", "200");
  counter.add(2, "blob", "GET", "200");
  counter.add(1, "blob", "HEAD", "200");
  const first = [
    'answers_total{route="blob",method="GET",code="200"} 3',
    'answers_total{route="blob",method="HEAD",code="200"} 1',
  ];
  t.strictSame(await lines(), first);
  t.strictSame(await lines(), first, "unchanged by being asked");
  counter.add(4, "blob", "GET", "200");
  t.equal((await lines())[0], 'answers_total{route="blob",method="GET",code="200"} 7');
});

t.test("series are told apart by every label, and a series may begin at 0", async (t) => {
  const { counter, lines } = counterOf(["a", "b"]);
  counter.add(0, "x", "y");
  counter.add(5, "y", "x");
  t.strictSame(await lines(), ['answers_total{a="x",b="y"} 0', 'answers_total{a="y",b="x"} 5']);
});

t.test("a sum beyond all numbers does not fail the scrape", async (t) => {
  const { counter, lines } = counterOf(["a"]);
  counter.add(Number.MAX_VALUE, "x");
  counter.add(Number.MAX_VALUE, "x");
  t.strictSame(await lines(), [`answers_total{a="x"} ${Number.MAX_VALUE}`]);
});
