import t from "tap";
import { loadAssets } from "../../../src/ops/page/assets.ts";
import { contentSecurityPolicy, pageHtml } from "../../../src/ops/page/page.ts";
import { fullDocument, fullExplanation, sampleDocument } from "../../fixtures/stats-samples.ts";

const assets = loadAssets();
const attack = `<img src=x onerror="alert(1)">'`;

t.test("no text becomes markup: of an error, a path, a user agent, a repository, a reference", (t) => {
  const html = pageHtml(fullDocument(attack), assets.page, attack, fullExplanation(attack));
  t.notMatch(html, /<img/i);
  t.notMatch(html, /onerror="/i);
  t.ok(html.split("&lt;img src=x onerror=&quot;").length > 20, "and all of it is there, as text");
  const unreadable = { schema: 1, kind: "unreadable", reference: attack, reason: attack } as const;
  t.notMatch(pageHtml(sampleDocument(), assets.page, attack, unreadable), /<img/i);
  t.end();
});

t.test("nothing stands in the page that the policy would have to allow", (t) => {
  const html = pageHtml(fullDocument("x"), assets.page, "x", fullExplanation("x"));
  t.notMatch(html, /\sstyle=|<style|\son[a-z]+=|javascript:/i);
  t.notMatch(html, /<script(?![^>]*\ssrc=)/i, "no inline script");
  t.strictSame([...html.matchAll(/\s(?:src|href|action)="([a-z]+:)?\/\//gi)], [], "nothing from elsewhere");
  t.notMatch(contentSecurityPolicy, /unsafe|\*|http/);
  t.match(contentSecurityPolicy, /^default-src 'none';/);
  t.end();
});

t.test("every file the page names is there", (t) => {
  const html = pageHtml(sampleDocument(), assets.page, "", undefined);
  const named = [...html.matchAll(/"(\/page\/[^"]+)"/g)].map(([, path]) => path);
  t.strictSame(new Set(named), new Set(assets.files.keys()));
  for (const [path, { body, gzip, type }] of assets.files) {
    t.ok(body.length > 100 && gzip.length < body.length, path);
    t.match(type, /^text\/(?:css|javascript); charset=utf-8$/);
  }
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
  const html = pageHtml(sampleDocument(), assets.page, "", undefined);
  const ids = [...html.matchAll(/<section id="([a-z]+)"/g)].map(([, id]) => id);
  t.strictSame(ids, [
    "verdict",
    "upstreams",
    "traffic",
    "store",
    "fills",
    "slow",
    "errors",
    "repositories",
    "origin",
    "node",
    "explain",
  ]);
  t.end();
});

t.test("without a script the page loads itself again, and all numbers are in it", (t) => {
  const html = pageHtml(
    sampleDocument((activity) => {
      activity.onNotice({ kind: "upstream_bytes", upstream: "hub", type: "blob", bytes: 123_000_000 });
    }),
    assets.page,
    "",
    undefined,
  );
  t.match(html, /<noscript><meta http-equiv="refresh" content="10"><\/noscript>/);
  t.match(html, /123 MB/);
  t.notMatch(html, /Redis|S3/, "services that are not configured are not mentioned");
  t.end();
});
