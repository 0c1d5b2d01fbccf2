import t from "tap";
import { datacenterView } from "../../../src/ops/page/datacenter-view.ts";
import { toHtml } from "../../../src/ops/page/html.ts";
import { Datacenter } from "../../../src/ops/stats/datacenter.ts";
import { sampleSummary } from "../../fixtures/node-summaries-suite.ts";
import { sampleDocument } from "../../fixtures/stats-samples.ts";

t.test("a node that is alone shows no table", (t) => {
  t.equal(toHtml(datacenterView(sampleDocument())), '<section id="datacenter" hidden></section>');
  t.end();
});

t.test("a row for each node, and their sums", (t) => {
  const datacenter = new Datacenter(
    () => 1_000_000,
    () => 1_000_000,
  );
  const lastHour = { ...sampleSummary("x").lastHour, requests: 30, hitRatio: 0.25, sentBytes: 5000 };
  datacenter.heard([
    { summary: sampleSummary("<b>", { state: "draining", lastHour }), ageMs: 0 },
    { summary: sampleSummary("gone", { lastHour: { ...lastHour, requests: 777 } }), ageMs: 60_000 },
    { summary: sampleSummary("ill", { verdict: { level: "degraded", reasons: ["a cause"] } }), ageMs: 0 },
  ]);
  const document = { ...sampleDocument(), datacenter: datacenter.document(sampleSummary("own")) };
  const html = toHtml(datacenterView(document));
  t.match(html, /&lt;b&gt;<\/b>.*draining.*25/);
  t.match(html, /gone<\/b>.*unreachable<\/span>, last heard <time /);
  t.match(html, /title="a cause"/);
  t.match(html, /own<\/b> \(this node\)/);
  t.match(html, /<b>3 nodes<\/b>.*1 unreachable/);
  t.notMatch(html, "777", "what a node did that is gone is in no figure");
  t.end();
});
