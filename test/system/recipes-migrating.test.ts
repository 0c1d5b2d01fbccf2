// docs/migrating.md: Distribution as a pull-through cache by the file shown there, and then the mirror by the other one, at the
// same port. The client is the same, and notices nothing.
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { parse } from "yaml";
import { Child, run } from "./fixtures/child.ts";
import { startRegistry } from "./fixtures/far-registry.ts";
import { freePort } from "./fixtures/free-port.ts";
import { makeLayout } from "./fixtures/images.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { recipeFiles } from "./fixtures/recipe.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(120_000);

t.test("the mirror takes over the address of Distribution", async (t) => {
  if (!requires(t, "linux", "docker-registry", "skopeo", "busybox")) return;
  const directory = await workDirectory(t);
  const origin = await startRegistry(t, directory);
  const images = await makeLayout(join(directory, "layout"));
  const to = `docker://${origin.host}/made/app:1`;
  await run("skopeo", ["copy", "--quiet", "--dest-tls-verify=false", `oci:${images.directory}:app`, to]);

  const port = await freePort();
  const files = recipeFiles("migrating.md", "The steps");
  const password = join(directory, "password");
  await writeFile(password, "secret");
  const here = (name: string) =>
    (files.get(name) ?? "")
      .replaceAll(":5000", `127.0.0.1:${port}`)
      .replaceAll("https://registry.example.com", origin.href.replace(/\/$/, ""))
      .replaceAll("/etc/entrepot/password", password)
      .replaceAll("/var/lib/", `${directory}/var/`);
  const [before, after] = [join(directory, "config.yml"), join(directory, "entrepot.yaml")];
  await writeFile(before, here("config.yml"));
  await writeFile(after, here("entrepot.yaml"));
  const old = parse(files.get("config.yml") ?? "");
  const now = parse(files.get("entrepot.yaml") ?? "");
  t.same([now.listen, now.upstream.url], [old.http.addr, old.proxy.remoteurl], "they say the same");

  /** The digest that a client gets, having fetched all of the image. */
  let pulls = 0;
  const pull = async (): Promise<string> => {
    pulls += 1;
    const copy = join(directory, `pulled-${pulls}`);
    const from = `docker://127.0.0.1:${port}/made/app:1`;
    await run("skopeo", ["copy", "--quiet", "--src-tls-verify=false", from, `dir:${copy}`]);
    return readFileSync(join(copy, "manifest.json"), "utf8");
  };

  const distribution = new Child(t, "docker-registry", ["serve", before]);
  await until("Distribution answers", async () => {
    if (!distribution.running) throw new Error(distribution.output());
    return (await fetch(`http://127.0.0.1:${port}/v2/`).catch(() => undefined))?.ok;
  });
  const manifest = await pull();
  await distribution.stop("SIGTERM");

  // The file alone says where everything is.
  const alone = {
    ENTREPOT_LISTEN: "",
    ENTREPOT_UPSTREAM_URL: "",
    ENTREPOT_UPSTREAM_USERNAME: "",
    ENTREPOT_UPSTREAM_PASSWORD: "",
    ENTREPOT_CACHE_DIR: "",
  };
  const nowhere = { url: "", username: "", password: "" };
  const mirror = await startMirror(t, nowhere, { config: after, env: alone });
  t.equal(mirror.host, `127.0.0.1:${port}`);
  t.equal(await pull(), manifest, "cold");
  t.equal(await pull(), manifest, "warm");
  t.equal(await mirror.metric("entrepot_upstream_requests_total", 'type="blob"'), images.app.blobs.length);
});
