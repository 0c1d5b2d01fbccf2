import t from "tap";
import { renderConfig } from "../../src/config/print.ts";
import { webhookSources } from "../../src/ports/event.ts";
import { configOf, loadedFrom, problemsOf, upstreamUrl, warningsOf } from "../fixtures/loading.ts";

const files = {
  "/token": "Bearer hunter2\n",
  "/common": "common-secret-0123\n",
  "/own": "artifactory-secret-0123",
};

function endpoints(...items: readonly string[]) {
  const list = items.map((item) => `    - {${item}}\n`).join("");
  return { yaml: `notifications:\n  endpoints:\n${list}`, env: upstreamUrl, files };
}

const least = "name: audit, url: https://audit.example.com/events";

t.test("without either section nobody is told, and no webhook taken", async (t) => {
  const { notifications, webhooks } = configOf({ env: upstreamUrl });
  t.same([notifications, webhooks], [undefined, undefined]);
  t.equal(configOf({ yaml: "notifications: {endpoints: []}", env: upstreamUrl }).notifications, undefined);
});

t.test("an endpoint with the defaults, and one with everything", async (t) => {
  const { notifications } = configOf(
    endpoints(
      least,
      `name: b, url: "http://b.example.com/?key=1", headers: {X-A: one}, headerFiles: {Authorization: /token},
       timeout: 500ms, threshold: 5, backoff: 2s, mediaType: v2, headRequests: true,
       ignore: {actions: [mount, delete], mediaTypes: application/octet-stream}`,
    ),
  );
  const [first, second] = notifications?.endpoints ?? [];
  t.match(first, {
    name: "audit",
    headers: [],
    timeout: 1_000,
    threshold: 10,
    backoff: 1_000,
    mediaType: "v1",
    ignore: { actions: [], mediaTypes: [] },
    headRequests: false,
  });
  t.equal(first?.url.href, "https://audit.example.com/events");
  t.match(second, {
    timeout: 500,
    threshold: 5,
    backoff: 2_000,
    mediaType: "v2",
    ignore: { actions: ["mount", "delete"], mediaTypes: ["application/octet-stream"] },
    headRequests: true,
  });
  t.equal(second?.url.search, "?key=1");
  const sent = second?.headers.map(async ({ name, value }) => [name, (await value.read()).reveal()]);
  t.same(await Promise.all(sent ?? []), [
    ["X-A", "one"],
    ["Authorization", "Bearer hunter2"],
  ]);
});

t.test("what is wrong with an endpoint is said at its place", async (t) => {
  const wrong: readonly (readonly [string, RegExp])[] = [
    ["name: audit", /endpoints\[0\]\.url \(mirror\.yaml:3:7\): found nothing, expected a value/],
    [
      `${least}, timeout: 500`,
      /endpoints\[0\]\.timeout .*found "500", expected a unit after the number: 500ms/,
    ],
    [`${least}, backoff: 1`, /endpoints\[0\]\.backoff .*expected a unit/],
    [`${least}, threshold: 0`, /endpoints\[0\]\.threshold .*expected a whole number from 1 to 100/],
    [`${least}, mediaType: v3`, /expected one of v1, v2/],
    [`${least}, treshold: 3`, /treshold .*did you mean notifications\.endpoints\[0\]\.threshold\?/],
    [
      `${least}, ignore: {actions: [pulls]}`,
      /ignore\.actions\[0\] .*expected one of pull, push, mount, delete/,
    ],
    [
      `${least}, headers: {Host: hunter2}`,
      /headers\.Host .*found a value that is not shown, expected the name/,
    ],
    [
      `${least}, headers: {X-A: "ü hunter2"}`,
      /headers\.X-A .*found a value that is not shown, expected a header/,
    ],
    [`${least}, headerFiles: {X-A: /none}`, /headerFiles\.X-A .*found "\/none", which cannot be read/],
    [
      `${least}, headers: {x-a: hunter2}, headerFiles: {X-A: /token}`,
      /headerFiles\.X-A .*found this header twice/,
    ],
    [
      "name: a, url: https://u:hunter2@a.example.com",
      /url .*\(not shown\), expected no credentials in the URL/,
    ],
    ["name: a, url: ftp://a.example.com", /expected an http or https URL/],
    ["name: A, url: https://a.example.com", /expected 1 to 32 of a-z, 0-9 and -/],
  ];
  for (const [item, message] of wrong) {
    const problems = problemsOf(endpoints(item)).join("\n");
    t.match(problems, message);
    t.notMatch(problems, /hunter2/);
  }
  t.match(
    problemsOf(endpoints(least, least)).join(),
    /endpoints\[1\]\.name .*which notifications\.endpoints\[0\]\.name .*has already/,
  );
  t.match(
    problemsOf({ yaml: "notifications: {endpoints: x}", env: upstreamUrl }).join(),
    /expected a list of endp/,
  );
});

t.test("webhooks: one secret for all, or one for each source", async (t) => {
  const secretsOf = async (yaml: string, env = {}) => {
    const { webhooks } = configOf({ yaml, env: { ...upstreamUrl, ...env }, files });
    const all = Object.entries(webhooks?.secrets ?? {});
    return Object.fromEntries(
      await Promise.all(all.map(async ([source, secret]) => [source, (await secret.read()).reveal()])),
    );
  };
  const common = "common-secret-0123";
  const forAll = Object.fromEntries(webhookSources.map((source) => [source, common]));
  t.same(await secretsOf("webhooks: {secretFile: /common}"), forAll);
  t.same(await secretsOf("", { ENTREPOT_WEBHOOKS_SECRET: common }), forAll);
  t.same(await secretsOf("webhooks: {secretFiles: {artifactory: /own}}"), {
    artifactory: files["/own"],
  });
  t.same(await secretsOf("webhooks: {secretFile: /common, secretFiles: {artifactory: /own}}"), {
    ...forAll,
    artifactory: files["/own"],
  });
});

t.test("webhooks: what is wrong", async (t) => {
  const problemOf = (yaml: string) =>
    problemsOf({ yaml: `webhooks: ${yaml}`, env: upstreamUrl, files }).join();
  t.match(problemOf("{secret: hunter2}"), /webhooks\.secret .*not shown, expected a secret of 16 to 1024/);
  t.match(
    problemOf("{secretFile: /token}"),
    /other content \(not shown\) in "\/token", expected a secret of 16/,
  );
  t.match(
    problemOf("{secret: common-secret-0123, secretFile: /common}"),
    /secretFile .*expected only one of the two/,
  );
  t.match(
    problemOf("{secretFiles: {artifactry: /own}}"),
    /expected one of distribution, artifactory, .* as its key/,
  );
  t.match(problemOf("{secretFiles: /own}"), /found a single value, expected keys with values/);
});

t.test("both are printed so that they load again, without their secrets", async (t) => {
  const { yaml } = endpoints(
    `${least}, headerFiles: {Authorization: /token}, ignore: {actions: [mount]}`,
    `name: b, url: "https://b.example.com/?key=hunter2", headers: {X-A: hunter2}`,
  );
  const hooks = "webhooks: {secret: hunter2-0123456789, secretFiles: {artifactory: /own}, prefetch: true}\n";
  const loaded = loadedFrom({ yaml: yaml + hooks, env: upstreamUrl, files });
  const { config } = loaded;
  const printed = renderConfig(loaded);
  t.notMatch(printed, /hunter2/);
  t.match(printed, /# the URL's query: not shown\n +# headers: not shown \(X-A\)\n/);
  t.match(printed, /# secret: not shown, from mirror\.yaml:5:20$/m);
  const again = configOf({ yaml: printed, files });
  t.same(again.notifications?.endpoints[0], config.notifications?.endpoints[0]);
  t.equal(again.webhooks?.prefetch, true);
  t.equal((await again.webhooks?.secrets.artifactory?.read())?.reveal(), files["/own"]);
  t.match(printed, /artifactory: \/own/);
  const file = loadedFrom({ yaml: "webhooks: {secretFile: /common}", env: upstreamUrl, files });
  t.match(renderConfig(file), /secretFile: \/common # mirror\.yaml:1:24/);
});

t.test("plain http with headers is warned of, unless it stays on the machine", async (t) => {
  const given = (url: string, headers: string) => endpoints(`name: a, url: "${url}", headers: {${headers}}`);
  t.match(warningsOf(given("http://a.example.com/", "X-A: b")), [
    /^notifications\.endpoints\[0\]\.url \(mirror\.yaml:3:22\): plain http: everybody/,
  ]);
  t.same(warningsOf(given("http://127.0.0.1:9000/", "X-A: b")), []);
  t.same(warningsOf(given("http://a.example.com/", "")), []);
  t.same(warningsOf(given("https://a.example.com/", "X-A: b")), []);
});
