// A real registry tells the mirror of a real push: the new image is there within a second, though tags live an hour.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { stringify } from "yaml";
import { run } from "./fixtures/child.ts";
import { startRegistry } from "./fixtures/far-registry.ts";
import { freePort } from "./fixtures/free-port.ts";
import { makeLayout } from "./fixtures/images.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { noInternet } from "./fixtures/no-internet.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(120_000);

const secret = "a-secret-of-the-hooks";

t.test("docker-registry, skopeo, and a mirror whose tags live an hour", async (t) => {
  if (!requires(t, "linux", "docker-registry", "skopeo", "busybox")) return;
  const directory = await workDirectory(t);
  const images = await makeLayout(join(directory, "layout"));
  const ops = `127.0.0.1:${await freePort()}`;
  const registry = await startRegistry(t, directory, {
    notifications: {
      endpoints: [
        {
          name: "mirror",
          url: `http://${ops}/hooks/distribution`,
          headers: { Authorization: [`Bearer ${secret}`] },
          timeout: "1s",
          threshold: 5,
          backoff: "100ms",
        },
      ],
    },
  });
  const env = {
    ENTREPOT_TAG_TTL: "1h",
    ENTREPOT_OPS_LISTEN: ops,
    ENTREPOT_WEBHOOKS_SECRET: secret,
    ENTREPOT_UPSTREAM_USERNAME: "",
    ENTREPOT_UPSTREAM_PASSWORD: "",
  };
  const mirror = await startMirror(t, { url: registry.href, username: "", password: "" }, { env });
  const push = async (tag: string): Promise<void> => {
    const target = `docker://${registry.host}/team/app:latest`;
    const how = ["--quiet", "--all", "--preserve-digests", "--dest-tls-verify=false"];
    await run("skopeo", ["copy", ...how, `oci:${images.directory}:${tag}`, target], { env: noInternet });
  };
  const pulled = async (): Promise<string | null> => {
    const answer = await fetch(`${mirror.url}/v2/team/app/manifests/latest`);
    await answer.arrayBuffer();
    return answer.headers.get("docker-content-digest");
  };
  const applied = () => mirror.metric("entrepot_webhooks_received_total", 'result="applied"');

  await push("app");
  t.equal(await pulled(), images.app.digest);

  await t.test("the same tag, pushed again", async (t) => {
    await push("busybox");
    const begun = performance.now();
    await until("the new image", async () => (await pulled()) === images.busybox.digest, 5_000);
    const took = performance.now() - begun;
    t.ok(took < 1_000, `${Math.round(took)} ms after the push had ended`);
    t.ok((await applied()) >= 1);
  });

  await t.test("deleted: gone here too", async (t) => {
    const deletion = await fetch(`${registry.origin}/v2/team/app/manifests/${images.busybox.digest}`, {
      method: "DELETE",
    });
    t.equal(deletion.status, 202);
    await until("the tag is gone", async () => (await pulled()) === null, 5_000);
  });

  await t.test("nobody without the secret", async (t) => {
    const answer = await fetch(`http://${ops}/hooks/distribution`, {
      method: "POST",
      headers: { authorization: "Bearer another" },
      body: "{}",
    });
    t.equal(answer.status, 401);
    t.equal(await mirror.metric("entrepot_webhooks_received_total", 'result="refused"'), 1);
  });

  await t.test("the other way: the mirror's notifications, taken in by another mirror", async (t) => {
    // The registry's own events have the same form, so what this mirror sends is what another one understands.
    const config = join(directory, "second.yaml");
    const token = join(directory, "token");
    await writeFile(token, `Bearer ${secret}\n`);
    const endpoint = {
      name: "first",
      url: `http://${ops}/hooks/distribution`,
      headerFiles: { Authorization: token },
    };
    await writeFile(
      config,
      stringify({
        upstream: { url: registry.href, push: true },
        notifications: { endpoints: [endpoint] },
      }),
    );
    const second = await startMirror(
      t,
      { url: "", username: "", password: "" },
      { env: { ENTREPOT_CONFIG: config } },
    );
    const target = `docker://${second.host}/team/app:latest`;
    const how = ["--quiet", "--all", "--preserve-digests", "--dest-tls-verify=false"];
    await run("skopeo", ["copy", ...how, `oci:${images.directory}:app`, target], { env: noInternet });
    await until("its image", async () => (await pulled()) === images.app.digest, 5_000);
    const delivered = () => second.metric("entrepot_events_total", 'result="delivered"');
    await until("its events", async () => (await delivered()) > 0, 5_000);
  });
});
