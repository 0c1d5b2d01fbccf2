// docs/recipes.md: the hosts.toml of Spegel, Dragonfly and several registries, as containerd reads them. In the place of Spegel
// something that has nothing (404), as Spegel answers when no machine has it; in the place of Dragonfly's daemon something that asks
// the registry its header names.
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { request as ask, createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import t from "tap";
import { parse } from "yaml";
import { containerdPrograms, startContainerd } from "./fixtures/containerd.ts";
import { farRegistryPrograms, startFarRegistry } from "./fixtures/far-registry.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { recipeFiles } from "./fixtures/recipe.ts";
import { requires } from "./fixtures/requires.ts";
import { type Cleanup, workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(180_000);

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** A server of this kind, and what it was asked. */
async function serve(t: Cleanup, answer: Answer) {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    answer(request, response);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  t.teardown(close);
  return { asked, close, host: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

const hosts = "/etc/containerd/certs.d/registry.example.com/hosts.toml";

t.test("containerd with the recipes' files", async (t) => {
  if (!requires(t, ...farRegistryPrograms, ...containerdPrograms)) return;
  const { front, images } = await startFarRegistry(t);
  const containerd = await startContainerd(t);
  const blobs = images.app.blobs.length;

  await t.test("Spegel before the mirror", async (t) => {
    const mirror = await startMirror(t, front);
    const spegel = await serve(t, (_request, response) => response.writeHead(404).end());
    const files = recipeFiles("recipes.md", "Under Spegel");
    const values = parse(files.get("values.yaml") ?? "");
    t.match(values.spegel, { prependExisting: true, resolveTags: false });
    const place = (text = "") =>
      text.replaceAll(/10\.0\.0\.21:3002\d/g, spegel.host).replaceAll("mirror.example.com:5000", mirror.host);
    // The second address of Spegel leads to another machine's.
    const after = files.get(`${hosts} (2)`) ?? "";
    t.ok(
      after.replaceAll("'", '"').endsWith((files.get(hosts) ?? "none").split("\n\n")[1] ?? "none"),
      "what was there stays, behind",
    );
    for (const text of [
      files.get(hosts),
      after.replace(/\[host\.'http:\/\/10\.0\.0\.21:30021'\]\n.*\n.*\n\n/, ""),
    ]) {
      await containerd.configure("registry.example.com", place(text));
      await containerd.forget();
      await containerd.pull("registry.example.com/made/app:1");
    }
    t.equal(front.log.blobGets().length, blobs, "the mirror fetched each once");
    t.notOk(
      spegel.asked.some((line) => line.includes("/manifests/1")),
      "Spegel was asked for no tag",
    );
    t.ok(
      spegel.asked.some((line) => line.includes("/blobs/")),
      "but before the mirror for layers",
    );
    spegel.close();
    await containerd.forget();
    await containerd.pull("registry.example.com/made/app:1");
    t.equal(front.log.blobGets().length, blobs, "with Spegel dead it is the mirror");
  });

  await t.test("Dragonfly before the mirror", async (t) => {
    const mirror = await startMirror(t, front);
    const followed: string[] = [];
    const dragonfly = await serve(t, (request, response) => {
      const registry = request.headers["x-dragonfly-registry"];
      followed.push(String(registry));
      const url = new URL(request.url ?? "", String(registry));
      const { host: _host, ...headers } = request.headers;
      ask(url, { method: request.method, headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      }).end();
    });
    const text = recipeFiles("recipes.md", "Under Dragonfly").get(hosts) ?? "";
    await containerd.configure(
      "registry.example.com",
      text.replaceAll("127.0.0.1:4001", dragonfly.host).replaceAll("mirror.example.com:5000", mirror.host),
    );
    front.log.forget();
    await containerd.forget();
    await containerd.pull("registry.example.com/made/app:1");
    t.ok(followed.length > blobs);
    t.ok(
      followed.every((registry) => registry === mirror.url),
      "it is told to ask the mirror",
    );
    t.equal(front.log.blobGets().length, blobs);
    dragonfly.close();
    await containerd.forget();
    await containerd.pull("registry.example.com/made/app:1");
    t.equal(front.log.blobGets().length, blobs, "with Dragonfly dead it is the mirror");
  });

  await t.test("several registries by one file that names none", async (t) => {
    const other = await startFarRegistry(t);
    const files = recipeFiles("recipes.md", "Several registries for a Kubernetes cluster");
    const directory = await workDirectory(t);
    const password = join(directory, "password");
    await writeFile(password, front.password);
    const text = (files.get("entrepot.yaml") ?? "")
      .replace("https://registry.example.com", front.url)
      .replace(/https:\/\/artifactory\.example\.com\/\S+/, other.front.url)
      .replaceAll("username: mirror", `username: ${front.username}`)
      .replaceAll(/\/run\/secrets\/\S+/g, password);
    const config = join(directory, "entrepot.yaml");
    await writeFile(config, text);
    const none = {
      ENTREPOT_UPSTREAM_URL: "",
      ENTREPOT_UPSTREAM_USERNAME: "",
      ENTREPOT_UPSTREAM_PASSWORD: "",
    };
    const mirror = await startMirror(t, front, { config, env: none });
    const all = files.get("/etc/containerd/certs.d/_default/hosts.toml") ?? "";
    await containerd.unconfigure("registry.example.com");
    await containerd.configure("_default", all.replace("mirror.example.com:5000", mirror.host));
    for (const [registry, at] of [
      ["registry.example.com", front],
      ["artifactory.example.com", other.front],
    ] as const) {
      for (const each of [front, other.front]) each.log.forget();
      await containerd.forget();
      await containerd.pull(`${registry}/made/multi:1`);
      t.ok(at.log.entries.length > 0, `${registry} was asked`);
      const another = at === front ? other.front : front;
      t.equal(another.log.entries.length, 0, "and not the other one");
    }
    const unknown = await fetch(`${mirror.url}/v2/made/app/manifests/1?ns=elsewhere.example.com`);
    t.equal(unknown.status, 404, "a registry that nobody named is not here");
  });
});
