import t from "tap";
import { pageClients } from "../../../src/client-config/page-clients.ts";
import { clientsView } from "../../../src/ops/page/clients-view.ts";
import { toHtml } from "../../../src/ops/page/html.ts";
import { configOf } from "../../fixtures/loading.ts";
import { sampleDocument } from "../../fixtures/stats-samples.ts";
import { sampleEvent } from "../../fixtures/telemetry-samples.ts";

const config = configOf({ yaml: "upstream: {url: https://registry.example.com}" });
const clients = (url = "http://mirror.example.com:5000") => pageClients(config, url);

t.test(
  "an empty node shows how to point docker, containerd and podman at it, as client-config prints it",
  (t) => {
    const html = toHtml(clientsView(sampleDocument(() => {}, { clients }))).replaceAll("&quot;", '"');
    t.match(html, /docker pull mirror\.example\.com:5000\/team\/app:1\.0/);
    for (const { client, files, restart } of clients()) {
      t.ok(html.includes(`<h3>${client}</h3>`));
      t.ok(files.length > 0);
      for (const { path, text } of files) {
        t.ok(html.includes(`In ${path}.`), path);
        t.ok(html.includes(text.trimEnd()), text);
      }
      t.ok(html.includes(restart));
    }
    t.end();
  },
);

t.test("files that are not shown are counted", (t) => {
  const [first] = clients();
  const more = () => (first === undefined ? [] : [{ ...first, client: "containerd", more: 97 }]);
  const html = toHtml(clientsView(sampleDocument(() => {}, { clients: more })));
  t.match(html, /And 97 more: entrepot client-config containerd\./);
  t.end();
});

t.test("a node with traffic does not, and keeps the place", (t) => {
  const document = sampleDocument((activity) => activity.onEvent(sampleEvent()), { clients });
  t.strictSame(document.clients, [], "nor does the document say it");
  t.equal(toHtml(clientsView(document)), '<section id="clients" hidden></section>');
  t.end();
});
