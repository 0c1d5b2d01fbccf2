import t from "tap";
import { clientSetup } from "../../src/client-config/clients.ts";
import { mirrorOfConfig } from "../../src/client-config/mirror-of-config.ts";
import { pageClients } from "../../src/client-config/page-clients.ts";
import { configOf, upstreamsYaml } from "../fixtures/loading.ts";

const url = "http://mirror.example.com:5000/";

t.test("the page has what the command prints, of the first files", (t) => {
  const upstreams = ["a", "b", "c", "d"].map((name) => `name: ${name}, url: https://${name}.example.com`);
  const config = configOf({ yaml: upstreamsYaml(...upstreams) });
  const mirror = mirrorOfConfig(config, new URL(url));
  const clients = pageClients(config, url);
  t.strictSame(
    clients.map(({ client, more }) => [client, more]),
    [
      ["docker", 0],
      ["containerd", 1],
      ["podman", 0],
    ],
  );
  for (const { client, files, restart } of clients) {
    const setup = clientSetup(client, mirror, { fallback: true });
    t.strictSame(files, setup.files.slice(0, 3));
    t.equal(restart, setup.restart);
  }
  t.end();
});

t.test("a client that cannot be given this mirror is left out", (t) => {
  const config = configOf({ yaml: "upstream: {url: https://registry.example.com}" });
  t.strictSame(
    pageClients(config, "https://proxy.example.com/registry").map(({ client }) => client),
    ["docker", "containerd"],
  );
  t.end();
});
