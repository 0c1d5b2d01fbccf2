import t from "tap";
import {
  amount,
  closedList,
  codeLabel,
  methodLabel,
  sourceLabel,
} from "../../../src/telemetry/metrics/label.ts";

t.test("a status is itself when usual, its class or a word otherwise", (t) => {
  t.equal(codeLabel(200), "200");
  t.equal(codeLabel(429), "429");
  t.equal(codeLabel(101), "1xx");
  t.equal(codeLabel(299), "2xx");
  t.equal(codeLabel(418), "4xx");
  t.equal(codeLabel(599), "5xx");
  t.equal(codeLabel(0), "none");
  for (const status of [-1, 1, 99, 600, 999, 1e9, Number.NaN, Number.POSITIVE_INFINITY])
    t.equal(codeLabel(status), "other", String(status));
  const all = new Set(Array.from({ length: 2000 }, (_, status) => codeLabel(status)));
  t.ok(all.size < 60, `${all.size} values at most`);
  t.end();
});

t.test("methods are those of HTTP, as they are written there", (t) => {
  t.equal(methodLabel("HEAD"), "HEAD");
  for (const method of ["get", "PROPFIND", "", 'GET"} 1\n', "__proto__", "constructor"])
    t.equal(methodLabel(method), "OTHER", method);
  t.end();
});

t.test("sources lose the name of the upstream or the sibling", (t) => {
  t.equal(sourceLabel("memory"), "memory");
  t.equal(sourceLabel("s3"), "s3");
  t.equal(sourceLabel("upstream:hub"), "upstream");
  t.equal(sourceLabel("sibling:upstream:dc2"), "sibling");
  t.equal(sourceLabel("none"), "none");
  t.equal(sourceLabel("tape" as "none"), "none");
  t.end();
});

t.test("a closed list is closed", (t) => {
  const fruit = closedList(["apple", "other"], "other");
  t.equal(fruit("apple"), "apple");
  for (const word of ["pear", "toString", "__proto__", ""]) t.equal(fruit(word), "other", word);
  t.end();
});

t.test("amounts never make a counter throw", (t) => {
  t.equal(amount(12), 12);
  for (const value of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) t.equal(amount(value), 0);
  t.end();
});
