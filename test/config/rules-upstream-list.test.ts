import t from "tap";
import { problemsOf, upstreamsYaml } from "../fixtures/loading.ts";

const a = "name: a, url: https://a.example.com";
const b = "name: b, url: https://b.example.com";
const c = "name: c, url: https://c.example.com";
const problems = (...items: string[]) => problemsOf({ yaml: upstreamsYaml(...items) });

t.test("names are distinct, and there", async (t) => {
  t.same(problems(a, "name: a, url: https://b.example.com"), [
    'upstreams[1].name (mirror.yaml:3:12): found "a", which upstreams[0].name (mirror.yaml:2:12) has already',
  ]);
  t.same(problems("url: https://a.example.com", "name: b"), [
    "upstreams[0] (mirror.yaml:2:5): has no name, expected one for each upstream of a list",
    "upstreams[1] (mirror.yaml:3:5): has no url, expected that of the registry to mirror",
  ]);
  t.match(problems("name: v2, url: https://a.example.com"), [/^upstreams\[0\]\.name .*and not v2/]);
});

t.test("namespaces, hosts and components belong to one upstream, whatever their case", async (t) => {
  t.same(
    problems(
      `${a}, namespaces: [x.example.com, y.example.com]`,
      `${b}, namespaces: [z.example.com, X.example.com]`,
    ),
    [
      'upstreams[1].namespaces[1] (mirror.yaml:3:71): found "x.example.com", which upstreams[0].namespaces[0] (mirror.yaml:2:56) has already',
    ],
  );
  t.match(problems(`${a}, hosts: m.example.com`, `${b}, hosts: [M.example.com]`), [
    /^upstreams\[1\]\.hosts\[0\] /,
  ]);
  t.match(problems(`${a}, component: hub`, `${b}, component: hub`), [
    /^upstreams\[1\]\.component .*which upstreams\[0\]\.component/,
  ]);
  t.same(
    problems(`${a}, namespaces: [x.example.com, x.example.com]`),
    [],
    "twice in one upstream does no harm",
  );
  t.same(
    problems(`${a}, namespaces: x.example.com`, `${b}, hosts: x.example.com`),
    [],
    "these are two things",
  );
});

t.test("a component may be its own upstream's name, and no other's", async (t) => {
  t.same(problems(`${a}, component: a`, b), []);
  t.same(problems(`${a}, component: b`, b), [
    'upstreams[0].component (mirror.yaml:2:54): found "b", which is the name of another: upstreams[1].name (mirror.yaml:3:12); expected the name of this one or another word',
  ]);
});

t.test("next names another upstream that is there", async (t) => {
  t.same(problems(`${a}, next: b`, b), []);
  t.same(
    problems("name: hub, url: https://a.example.com, next: hbu2", "name: hub2, url: https://b.example.com"),
    ['upstreams[0].next (mirror.yaml:2:51): found "hbu2", expected one of hub2; did you mean hub2?'],
  );
  t.match(problems(`${a}, next: {upstream: zzzzzz}`, b), [/expected one of b$/]);
  t.match(problems(`${a}, next: a`, b), [
    /^upstreams\[0\]\.next .*found its own name, expected another upstream$/,
  ]);
  t.same(problemsOf({ yaml: "upstream: {url: https://a.example.com, next: hub}\n" }), [
    'upstream.next (mirror.yaml:1:46): found "hub", but there is no other upstream; list them under upstreams',
  ]);
});

t.test("a chain that comes round to its beginning is told once, with its links", async (t) => {
  t.same(problems(`${a}, next: b`, `${b}, next: c`, `${c}, next: a`), [
    "upstreams[0].next (mirror.yaml:2:49): found a circle, a -> b -> c -> a, expected a chain that ends",
  ]);
  t.match(problems(`${a}, next: b`, `${b}, next: c`, `${c}, next: b`), [
    /^upstreams\[1\]\.next .*found a circle, b -> c -> b,/,
  ]);
  t.same(problems(`${a}, next: c`, `${b}, next: c`, c), [], "two chains may end in one upstream");
});

t.test("what comes after a refusal or a failure is listed there", async (t) => {
  const allow = "allow: library/**";
  for (const on of ["denied", "failure", "[absent, denied]", "[absent, FAILURE]"]) {
    const next = `next: {upstream: b, on: ${on}}`;
    t.match(problems(`${a}, ${next}`, b), [
      /^upstreams\[0\]\.next\.on\[\d\] \(.*found "(denied|failure)", expected upstreams\[1\]\.allow as well: when this/,
    ]);
    t.match(
      problems(`${a}, ${next}`, `${b}, allow: []`),
      [/upstreams\[1\]\.allow as well/],
      "an empty list is none",
    );
    t.same(problems(`${a}, ${next}`, `${b}, ${allow}`), []);
    t.match(
      problems(`${a}, ${next}`, `${b}, ${allow}, next: {upstream: c, on: absent}`, c),
      [/upstreams\[2\]\.allow as well/],
      "also where the chain goes on",
    );
    t.same(problems(`${a}, ${next}`, `${b}, ${allow}, next: c`, `${c}, ${allow}`), []);
  }
  t.same(problems(`${a}, next: {upstream: b, on: absent}`, b), []);
  t.same(
    problems(
      `${a}, next: {upstream: b, on: absent}`,
      `${b}, next: {upstream: c, on: failure}`,
      `${c}, ${allow}`,
    ),
    [],
  );
});
