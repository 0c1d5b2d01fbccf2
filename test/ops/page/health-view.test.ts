import t from "tap";
import { upstreamsView } from "../../../src/ops/page/health-view.ts";
import { toHtml } from "../../../src/ops/page/html.ts";
import type { siblingStates } from "../../../src/ports/datacenter/sibling-verdict.ts";
import type { Notice } from "../../../src/ports/event.ts";
import { sampleDocument } from "../../fixtures/stats-samples.ts";

function upstreams(...notices: Notice[]): string {
  return toHtml(
    upstreamsView(
      sampleDocument((activity, clock) => {
        for (const notice of notices) {
          activity.onNotice(notice);
          clock.advance(1000);
        }
      }),
    ),
  );
}

const failed = (code: string): Notice => ({
  kind: "upstream_error",
  upstream: "hub",
  code,
  status: undefined,
  message: "no luck",
});

t.test("an upstream that was never asked is not green", (t) => {
  const html = upstreams();
  t.match(html, /class="state idle".*not asked yet/);
  t.notMatch(html, /class="state ok"/);
  t.end();
});

t.test("one that cannot be reached shows its attempts, and is red between two probes and during one", (t) => {
  const unreachable = [1, 2, 3].map(() => failed("unreachable"));
  const circuit = (state: "open" | "half_open"): Notice => ({
    kind: "circuit",
    upstream: "hub",
    state,
    previous: "closed",
  });
  for (const probes of [[circuit("open")], [circuit("open"), circuit("half_open")]]) {
    const html = upstreams(...unreachable, ...probes);
    t.match(html, /class="state bad".*not answering/);
    t.match(
      html,
      new RegExp(`hub: ${2 + probes.length} attempts without success in ${2 + probes.length + 1}\\.0 s`),
    );
  }
  t.end();
});

t.test("an account that is refused, and a place without a registry, are called so", (t) => {
  t.match(upstreams(failed("auth")), /class="state bad".*refuses our account/);
  const trouble = { code: "no_registry", message: "upstream hub: wrong path" };
  const html = upstreams({ kind: "upstream_check", upstream: "hub", trouble, changed: true });
  t.match(html, /class="state bad".*no registry there/);
  t.match(html, /upstream hub: wrong path/);
  t.end();
});

t.test("siblings are listed with their verdicts; without any there is no such table", (t) => {
  t.notMatch(upstreams(), /Sibling/);
  const verdict = {
    name: "dc2",
    state: "asked",
    bytesPerSecond: 5_000_000,
    results: { hit: 3, miss: 4, failed: 1, slow: 0, wrong: 0 },
    lastHitAt: 0,
    lastError: { at: 0, message: "<nobody there>" },
  } as const;
  const html = (state: (typeof siblingStates)[number]): string => {
    const siblings = { verdicts: [{ ...verdict, state }] };
    return toHtml(upstreamsView(sampleDocument(() => {}, { running: () => ({ siblings }) })));
  };
  t.match(html("asked"), /<b>dc2<\/b>.*class="state ok".*asked first.*5.00 MB\/s/);
  t.match(html("asked"), /dc2: last error .*: &lt;nobody there/);
  t.match(html("away"), /class="state warn".*not answering/);
  t.match(html("resting"), /class="state warn".*failed just now/);
  t.match(html("slow"), /slower than upstream/);
  t.match(html("distrusted"), /class="state bad".*sent wrong bytes/);
  t.end();
});
