import t from "tap";
import { clientsView } from "../../../src/ops/page/clients-view.ts";
import { toHtml } from "../../../src/ops/page/html.ts";
import { sampleDocument } from "../../fixtures/stats-samples.ts";
import { sampleEvent } from "../../fixtures/telemetry-samples.ts";

t.test("an empty node shows how to point docker, containerd and podman at it", (t) => {
  const html = toHtml(clientsView(sampleDocument())).replaceAll("&quot;", '"');
  t.match(html, /docker pull mirror\.example\.com:5000\/team\/app:1\.0/);
  t.match(html, /"registry-mirrors": \[\s*"http:\/\/mirror\.example\.com:5000"\s*\]/);
  t.match(html, /"insecure-registries": \[\s*"mirror\.example\.com:5000"/);
  t.match(html, /\[host\."http:\/\/mirror\.example\.com:5000"\]/);
  t.match(html, /location = "mirror\.example\.com:5000"\ninsecure = true/);
  const secure = toHtml(
    clientsView(sampleDocument(() => {}, { mirrorUrl: () => "https://mirror.example.com" })),
  );
  t.notMatch(secure, /insecure/);
  t.end();
});

t.test("a node with traffic does not, and keeps the place", (t) => {
  const html = toHtml(clientsView(sampleDocument((activity) => activity.onEvent(sampleEvent()))));
  t.equal(html, '<section id="clients" hidden></section>');
  t.end();
});
