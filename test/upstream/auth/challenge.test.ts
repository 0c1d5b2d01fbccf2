import fc from "fast-check";
import t from "tap";
import { challengeOf, parseChallenges } from "../../../src/upstream/auth/challenge.ts";
import { cpuTime } from "../../fixtures/cpu-time.ts";

/** Challenges as plain data. */
function parse(...fields: string[]): [string, Record<string, string>][] {
  return parseChallenges(fields).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);
}

t.test("what registries send", async (t) => {
  t.same(
    parse(
      'Bearer realm="https://auth.example.com/token",service="registry",scope="repository:a/b:pull,push"',
    ),
    [
      [
        "bearer",
        { realm: "https://auth.example.com/token", service: "registry", scope: "repository:a/b:pull,push" },
      ],
    ],
  );
  t.same(parse('Basic realm="Artifactory Realm"'), [["basic", { realm: "Artifactory Realm" }]]);
  t.same(parse('BASIC Realm="x", charset="UTF-8"'), [["basic", { realm: "x", charset: "UTF-8" }]]);
});

t.test("several challenges, in one field and in several", async (t) => {
  const both = [
    ["bearer", { realm: "https://a.example.com/t", service: "s" }],
    ["basic", { realm: "r" }],
  ];
  const bearer = 'Bearer realm="https://a.example.com/t",service="s"';
  t.same(parse(`${bearer}, Basic realm="r"`), both);
  t.same(parse(`${bearer},Basic realm=r`), both);
  t.same(parse(bearer, 'Basic realm="r"'), both);
  t.same(parse('Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"'), [
    ["newauth", { realm: "apps", type: "1", title: 'Login to "apps"' }],
    ["basic", { realm: "simple" }],
  ]);
});

t.test("schemes without parameters and with a token68", async (t) => {
  t.same(parse("Negotiate"), [["negotiate", {}]]);
  t.same(parse('Negotiate, Basic realm="r"'), [
    ["negotiate", {}],
    ["basic", { realm: "r" }],
  ]);
  t.same(parse('NTLM TlRMTVNTUAACAAAA==, Bearer realm="x"'), [
    ["ntlm", {}],
    ["bearer", { realm: "x" }],
  ]);
  t.same(parse("Negotiate a=, Basic realm=r"), [
    ["negotiate", {}],
    ["basic", { realm: "r" }],
  ]);
});

t.test("white space, empty elements and missing commas", async (t) => {
  t.same(parse(', \t,Bearer  realm = "x" ,, service\t=\t"y",'), [["bearer", { realm: "x", service: "y" }]]);
  t.same(parse('Bearer realm="x" service="y"'), [["bearer", { realm: "x", service: "y" }]]);
  t.same(parse("", "  ", ","), []);
});

t.test("the first of two values counts, and no name is special", async (t) => {
  t.same(parse('Bearer realm="first",REALM="second"'), [["bearer", { realm: "first" }]]);
  const [challenge] = parseChallenges(['Bearer __proto__="a",constructor="b"']);
  t.equal(challenge?.parameters.get("__proto__"), "a");
  t.equal(challenge?.parameters.get("toString"), undefined);
});

t.test("a realm without the quotes an address needs", async (t) => {
  t.same(parse("Bearer realm=https://a.example.com/t?x=1&y=2,service=s:5000 scope=repository:a/b:pull"), [
    ["bearer", { realm: "https://a.example.com/t?x=1&y=2", service: "s:5000", scope: "repository:a/b:pull" }],
  ]);
});

t.test("what is broken hides no other challenge", async (t) => {
  const bearer = ["bearer", { realm: "https://a.example.com/t" }];
  for (const broken of ["@@@", "é", "=", '"x"', "Foo bar=@ (x)", '<b a="c">']) {
    const read = parse(`${broken}, Bearer realm="https://a.example.com/t"`);
    t.same(read.at(-1), bearer, broken);
    t.same(parse(`Bearer realm="https://a.example.com/t", ${broken}`)[0], bearer, broken);
  }
  t.same(parse('Bearer realm="x",service="no end'), [
    ["bearer", { realm: "x" }],
    ["service", {}],
  ]);
  t.same(parse('Basic realm="r", @'), [["basic", { realm: "r" }]]);
  t.same(parse("=", '"Bearer"', "é"), []);
});

t.test("a challenge is found by its scheme", async (t) => {
  const challenges = parseChallenges(["Negotiate", "Bearer realm=x"]);
  t.equal(challengeOf(challenges, "bearer")?.parameters.get("realm"), "x");
  t.equal(challengeOf(challenges, "basic"), undefined);
});

const token = fc.stringMatching(/^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,12}$/);
/** What a header can carry: HTAB and the visible characters of Latin-1. */
const text = fc.string({
  unit: fc.constantFrom(...' !"#,=\\abcXYZ019~\t:/é'.split("")),
  maxLength: 20,
});
const spaces = fc.constantFrom("", " ", "\t", "  ");

/** A parameter, and ways to write it. */
const parameter = fc.record({ name: token, value: text, before: spaces, after: spaces }).map((p) => ({
  name: p.name.toLowerCase(),
  value: p.value,
  written: `${p.name}${p.before}=${p.after}"${p.value.replace(/["\\]/g, "\\$&")}"`,
}));
const challenge = fc.record({
  scheme: token,
  parameters: fc.uniqueArray(parameter, { maxLength: 4, selector: ({ name }) => name }),
});

t.test("whatever is written is read back", async () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(challenge, { maxLength: 3 }), { maxLength: 3 }),
      fc.constantFrom(",", ", ", " ,\t, "),
      (fields, comma) => {
        const written = fields.map((challenges) =>
          challenges
            .map(({ scheme, parameters }) =>
              parameters.length === 0
                ? scheme
                : `${scheme} ${parameters.map((each) => each.written).join(comma)}`,
            )
            .join(comma),
        );
        const expected = fields
          .flat()
          .map(({ scheme, parameters }) => [
            scheme.toLowerCase(),
            Object.fromEntries(parameters.map(({ name, value }) => [name, value])),
          ]);
        return JSON.stringify(parse(...written)) === JSON.stringify(expected);
      },
    ),
    { numRuns: 500 },
  );
});

t.test("no header is too strange or takes long", async (t) => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: "binary", maxLength: 50 })), (fields) => {
      parseChallenges(fields);
    }),
    { numRuns: 500 },
  );
  for (const unit of ['"', "\\", 'a="', "a=", "a ", ",", 'a="\\"', "a "]) {
    const fields = [unit.repeat(65_536 / unit.length), `Bearer a="${unit.repeat(65_000 / unit.length)}`];
    const spent = cpuTime(() => parseChallenges(fields));
    t.ok(spent < 2_000, `${unit}: ${spent} ms of processor time`);
  }
});
