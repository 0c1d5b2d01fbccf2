import t from "tap";
import { arrange } from "../../../src/ops/page/arrange.ts";
import { type PageNode, toHtml } from "../../../src/ops/page/html.ts";
import { errorsView, repositoriesView, slowView } from "../../../src/ops/page/lists-view.ts";
import { sampleDocument } from "../../fixtures/stats-samples.ts";
import { sampleEvent } from "../../fixtures/telemetry-samples.ts";

t.test("the same repository on two upstreams is two rows that can be told apart", (t) => {
  const document = sampleDocument((activity) => {
    for (const upstream of ["hub", "near"]) activity.onEvent(sampleEvent({ upstream }));
  });
  const [hub] = document.upstreams as [(typeof document.upstreams)[0]];
  const html = toHtml(repositoriesView({ ...document, upstreams: [hub, { ...hub, name: "near" }] }));
  for (const upstream of ["hub", "near"])
    t.match(html, new RegExp(`<td class="long">team/app</td><td>${upstream}</td>`));
  t.notMatch(toHtml(repositoriesView(document)), />Upstream</, "with one there is nothing to tell apart");
  t.end();
});

t.test("a name of any length is broken, and leaves the numbers where they are", (t) => {
  const repository = "a".repeat(200);
  const html = toHtml(
    repositoriesView(sampleDocument((activity) => activity.onEvent(sampleEvent({ repository })))),
  );
  t.match(html, new RegExp(`<td class="long">${repository}</td><td class="number" `));
  t.end();
});

t.test("sizes and times are sorted by what they mean: 900 kB before 8 MB", (t) => {
  const document = sampleDocument((activity) => {
    for (const [repository, bytesSent] of [
      ["small", 900_000],
      ["large", 8_000_000],
    ] as const)
      activity.onEvent(sampleEvent({ repository, bytesSent, durationMs: 6000 }));
  });
  const orders = (label: string, column: number) => new Map([[`${label}, table`, { column, down: false }]]);
  const order = (view: PageNode, label: string, column: number) =>
    [...toHtml(arrange(view, { filter: "", orders: orders(label, column) })).matchAll(/small|large/g)].map(
      ([name]) => name,
    );
  t.strictSame(order(repositoriesView(document), "Repositories by bytes sent", 1), ["small", "large"]);
  for (const column of [2, 3])
    t.strictSame(order(slowView(document), "Slow transfers", column), ["small", "large"]);
  t.end();
});

t.test("an error says its upstream, client and request before texts of any length", (t) => {
  const html = toHtml(
    errorsView(
      sampleDocument((activity) =>
        activity.onEvent(sampleEvent({ status: 502, upstreamStatus: 500, detail: "no luck" })),
      ),
    ),
  );
  const names = [...html.matchAll(/<th [^>]*>([^<]*)/g)].map(([, name]) => name);
  t.strictSame(names, ["When", "Times", "Status", "Upstream", "Client", "Request", "What", "Reason"]);
  t.match(html, />hub \(500\)<\/td><td class="long">192\.0\.2\.7<\/td><td class="long"><code>req-1</);
  t.end();
});
