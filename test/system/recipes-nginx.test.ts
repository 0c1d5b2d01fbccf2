// docs/recipes.md, "Behind nginx": its file in a real nginx, before two nodes.
import { existsSync, readdirSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { Authority } from "../fixtures/certificates.ts";
import { attempt, Child } from "./fixtures/child.ts";
import { farRegistryPrograms, startFarRegistry } from "./fixtures/far-registry.ts";
import { freePort } from "./fixtures/free-port.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { recipeFiles } from "./fixtures/recipe.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(120_000);

t.test("nginx with the recipe's file", async (t) => {
  if (!requires(t, ...farRegistryPrograms, "nginx", "openssl", "curl")) return;
  const { front, images } = await startFarRegistry(t);
  const env = { ENTREPOT_TRUSTED_PROXIES: "127.0.0.1", ENTREPOT_CACHE_PREFETCH: "0" };
  const nodes = [await startMirror(t, front, { env }), await startMirror(t, front, { env })];
  const directory = await workDirectory(t);
  const authority = new Authority(directory, "authority");
  const { cert, key } = authority.issue("mirror", "DNS:mirror.example.com");
  await writeFile(join(directory, "mirror.pem"), cert);
  await writeFile(join(directory, "mirror.key"), key);
  const port = await freePort();
  const file = recipeFiles("recipes.md", "Behind nginx").get("/etc/nginx/conf.d/mirror.conf") ?? "";
  const changed = file
    .replace("10.0.0.7:5000", nodes[0]?.host ?? "")
    .replace("10.0.0.8:5000", nodes[1]?.host ?? "")
    .replaceAll("/etc/nginx/", `${directory}/`)
    .replaceAll("listen 443 ", `listen 127.0.0.1:${port} `);
  await writeFile(join(directory, "mirror.conf"), changed);
  await mkdir(join(directory, "temporary"));
  const settings = [
    `pid ${directory}/nginx.pid;`,
    `error_log ${directory}/error.log warn;`,
    "daemon off;",
    "events {}",
    "http {",
    "  access_log off;",
    ...["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
      (name) => `  ${name}_temp_path ${directory}/temporary/${name};`,
    ),
    `  include ${directory}/mirror.conf;`,
    "}",
  ];
  await writeFile(join(directory, "nginx.conf"), settings.join("\n"));
  const options = ["-c", join(directory, "nginx.conf"), "-p", directory];
  const checked = await attempt("nginx", ["-t", ...options]);
  t.equal(checked.code, 0, checked.output);
  t.notMatch(checked.output, /warn/);
  const nginx = new Child(t, "nginx", options);
  t.teardown(() => nginx.stop("SIGTERM"));
  const known = ["--silent", "--show-error", "--cacert", join(directory, "authority.pem")];
  const resolve = ["--resolve", `mirror.example.com:${port}:127.0.0.1`];
  const curl = (path: string, ...more: readonly string[]) =>
    attempt("curl", [...known, ...resolve, ...more, `https://mirror.example.com:${port}${path}`]);
  await until("nginx answers", async () => {
    if (!nginx.running) throw new Error(nginx.output());
    return (await curl("/readyz", "--fail")).code === 0;
  });

  await t.test("clients pull over TLS and HTTP/2, and each layer comes once for both nodes", async (t) => {
    const http = await curl(
      "/v2/made/app/manifests/1",
      "--fail",
      "--http2",
      "--write-out",
      "%{http_version}",
    );
    t.match(http.output, /2$/, http.output);
    front.log.forget();
    const digests = images.app.blobs;
    const bytes = async (repository: string) => {
      let sum = 0;
      for (const digest of digests) {
        const path = `/v2/made/${repository}/blobs/${digest}`;
        const { code, output } = await curl(
          path,
          "--fail",
          "--output",
          "/dev/null",
          "--write-out",
          "%{size_download}",
        );
        t.equal(code, 0, output);
        sum += Number(output);
      }
      return sum;
    };
    t.equal(await bytes("app"), images.app.size);
    t.equal(await bytes("app"), images.app.size);
    t.equal(front.log.blobGets().length, digests.length);
  });

  await t.test("the nodes know clients by the address nginx saw", async (t) => {
    await curl("/v2/made/app/tags/list", "--fail", "--interface", "127.0.0.5");
    const line = await until("the log has it", () =>
      nodes.flatMap(({ process }) => process.output().split("\n")).find((each) => each.includes("tags/list")),
    );
    t.match(line, /"client":"127\.0\.0\.5/);
  });

  await t.test("nothing is written to nginx's disk, and no node is named by a client", async (t) => {
    const temporary = join(directory, "temporary/proxy");
    t.same(existsSync(temporary) ? readdirSync(temporary) : [], []);
    const forged = await curl("/v2/", "--header", "Forwarded: for=10.9.9.9", "--fail");
    t.equal(forged.code, 0);
  });

  await t.test("a node that is gone costs nobody a pull", async (t) => {
    await nodes[0]?.kill();
    for (const digest of images.app.blobs)
      t.equal((await curl(`/v2/made/app/blobs/${digest}`, "--fail", "--output", "/dev/null")).code, 0);
    t.equal((await curl("/readyz", "--fail")).code, 0);
  });
});
