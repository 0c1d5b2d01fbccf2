import t from "tap";
import { configOf, problemsOf, upstreamUrl } from "../fixtures/loading.ts";

const upstream = "upstream: {url: https://registry.example.com, pricePerGB: 0.085}\n";

t.test("teams, prices and their currency", async (t) => {
  const yaml = `${upstream}currency: EUR
teams:
  - {name: payments, repositories: [payments/**, legacy]}
  - {name: builds, callers: [ci-*, "oidc:github/**"]}
`;
  const { teams, currency, upstreams } = configOf({ yaml });
  t.same(teams, [
    { name: "payments", repositories: ["payments/**", "legacy"], callers: [] },
    { name: "builds", repositories: [], callers: ["ci-*", "oidc:github/**"] },
  ]);
  t.equal(currency, "EUR");
  t.equal(upstreams[0].pricePerGB, 0.085);
  const env = { ...upstreamUrl, ENTREPOT_UPSTREAM_PRICE_PER_GB: "2", ENTREPOT_CURRENCY: "€" };
  t.match(configOf({ env }), { upstreams: [{ pricePerGB: 2 }], currency: "€", teams: [] });
});

t.test("what is none", async (t) => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ["teams: [{repositories: [a]}]", /name/],
    ["teams: [{name: other}]", /and not other/],
    ["teams: [{name: A}]", /1 to 32 of a-z/],
    ['teams: [{name: a, repositories: ["a:b"]}]', /without a colon/],
    ['teams: [{name: a, callers: ["[ab"]}]', /every bracket closed/],
    ["currency: euros and cents", /1 to 8 characters/],
    ['currency: "a,b"', /without spaces, commas and quotes/],
    [`teams: [${"{name: a},".repeat(51)}]`, /at most 50 teams/],
  ];
  for (const [yaml, expected] of cases)
    t.match(problemsOf({ yaml: `${upstream}${yaml}` }).join("\n"), expected, yaml.slice(0, 60));
  for (const price of ["-1", "1000001", "1e3", "0.0000001", "free"])
    t.match(
      problemsOf({ yaml: upstream.replace("0.085", price) }).join("\n"),
      /a number from 0 to 1000000, such as 0\.09/,
      price,
    );
});
