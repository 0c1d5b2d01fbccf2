import t from "tap";
import { toHtml } from "../../../src/ops/page/html.ts";
import { errorsView, repositoriesView } from "../../../src/ops/page/lists-view.ts";
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
  t.match(html, new RegExp(`<td class="long">${repository}</td><td class="number">`));
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
