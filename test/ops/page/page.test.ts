import t from "tap";
import { loadAssets } from "../../../src/ops/page/assets.ts";
import { contentSecurityPolicy, pageHtml } from "../../../src/ops/page/page.ts";
import type { Explanation, StatsDocument } from "../../../src/ops/stats/stats-document.ts";
import { fullDocument, fullExplanation, sampleDocument } from "../../fixtures/stats-samples.ts";

const assets = loadAssets();
/** As a browser gets it below that path. */
function page(
  document: StatsDocument,
  reference = "",
  explanation: Explanation | undefined = undefined,
  basePath = "",
): string {
  return pageHtml(document, assets.page, { reference, explanation, basePath });
}

const attack = `<img src=x onerror="alert(1)">'`;

t.test("no text becomes markup: of an error, a path, a user agent, a repository, a reference", (t) => {
  const html = page(fullDocument(attack), attack, fullExplanation(attack));
  t.notMatch(html, /<img/i);
  t.notMatch(html, /onerror="/i);
  t.ok(html.split("&lt;img src=x onerror=&quot;").length > 20, "and all of it is there, as text");
  const unreadable = { schema: 1, kind: "unreadable", reference: attack, reason: attack } as const;
  t.notMatch(page(sampleDocument(), attack, unreadable), /<img/i);
  t.end();
});

t.test("nothing stands in the page that the policy would have to allow", (t) => {
  const html = page(fullDocument("x"), "x", fullExplanation("x"));
  t.notMatch(html, /\sstyle=|<style|\son[a-z]+=|javascript:/i);
  t.notMatch(html, /<script(?![^>]*\ssrc=)/i, "no inline script");
  t.strictSame([...html.matchAll(/\s(?:src|href|action)="([a-z]+:)?\/\//gi)], [], "nothing from elsewhere");
  t.notMatch(contentSecurityPolicy, /unsafe|\*|http/);
  t.match(contentSecurityPolicy, /^default-src 'none';/);
  t.end();
});

t.test("links to the runbook, Grafana and HAProxy, where they are configured", (t) => {
  t.notMatch(page(sampleDocument()), /<nav/);
  const html = page({
    ...sampleDocument(),
    links: {
      runbook: "https://wiki.example.com/mirror",
      grafana: null,
      haproxy: "http://lb.example.com:8404/stats",
    },
  });
  t.match(
    html,
    /<nav aria-label="Elsewhere"><a href="https:\/\/wiki\.example\.com\/mirror">Runbook<\/a><a[^>]*>HAProxy</,
  );
  t.notMatch(html, /Grafana/);
  t.end();
});

t.test("every file the page names is there", (t) => {
  const html = page(sampleDocument());
  const named = [...html.matchAll(/"(page\/[^"]+)"/g)].map(([, path]) => `/${path}`);
  t.strictSame(new Set(named), new Set(assets.files.keys()));
  for (const [path, { body, gzip, type }] of assets.files) {
    t.ok(body.length > 100 && gzip.length < body.length, path);
    t.match(type, /^text\/(?:css|javascript); charset=utf-8$/);
  }
  t.end();
});

t.test("below a path of a proxy every address of the page leads below it", (t) => {
  for (const [basePath, at] of [
    ["", "http://proxy/ops/"],
    ["", "http://proxy/"],
    ["/ops", "http://proxy/ops"],
    ["/ops", "http://proxy/ops/?explain=a"],
  ] as const) {
    const html = page(sampleDocument(), "", undefined, basePath);
    const named = [...html.matchAll(/\s(?:src|href|action)="(?!data:)([^"]+)"/g)].map(
      ([, address]) => new URL(address as string, at).pathname,
    );
    const root = basePath || new URL(at).pathname.slice(0, -1);
    const linked = ["/jobs", "/api/v1/openapi.json", "/api/v1/stats", "/metrics", "/readyz"];
    const paths = [...assets.files.keys(), ...linked].map((path) => root + path);
    t.strictSame(new Set(named), new Set(paths), `${at} ${basePath}`);
  }
  const live = [...assets.files].find(([path]) => path.startsWith("/page/browser/live"))?.[1].body.toString();
  t.notMatch(live, /(?:fetch|EventSource)\((?!address\()/, "the script asks relative to its own address");
  t.end();
});

t.test("the modules import only what is served", (t) => {
  for (const [path, { body }] of assets.files) {
    for (const [, specifier] of body.toString().matchAll(/^import .* from "(.+)";$/gm)) {
      const target = new URL(specifier as string, `http://x${path}`).pathname;
      t.ok(assets.files.has(target), `${path} imports ${target}`);
    }
  }
  t.end();
});

t.test("the order is that of questions at night", (t) => {
  const html = page(sampleDocument());
  const ids = [...html.matchAll(/<section id="([a-z]+)"/g)].map(([, id]) => id);
  t.strictSame(ids, [
    "verdict",
    "explain",
    "datacenter",
    "clients",
    "upstreams",
    "traffic",
    "store",
    "fills",
    "slow",
    "errors",
    "moved",
    "repositories",
    "origin",
    "savings",
    "blocked",
    "node",
  ]);
  t.end();
});

t.test("without a script the page loads itself again, and all numbers are in it", (t) => {
  const html = page(
    sampleDocument((activity) => {
      activity.onNotice({ kind: "upstream_bytes", upstream: "hub", type: "blob", bytes: 123_000_000 });
    }),
  );
  t.match(html, /<noscript><meta http-equiv="refresh" content="10"><\/noscript>/);
  t.match(html, /123 MB/);
  t.notMatch(html, /Redis|S3/, "services that are not configured are not mentioned");
  t.end();
});
