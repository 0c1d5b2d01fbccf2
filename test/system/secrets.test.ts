// A value of its own in every setting that is a secret, found by walking the schema, so that a new one is in here by itself.
// Everything goes wrong that can: no value may come out anywhere but where it is meant to go.
import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer, type Server } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import type { z } from "zod";
import { ZodArray, ZodObject, ZodRecord } from "zod";
import { schema } from "../../src/config/schema.ts";
import { bareType } from "../../src/config/settings.ts";
import { traits } from "../../src/config/types/text-types.ts";
import { Secret } from "../../src/ports/secret.ts";
import { bearer, login, userLine } from "../fixtures/access.ts";
import { startReceiver } from "../fixtures/event-receiver.ts";
import { makeImage, randomBytesFor } from "../fixtures/images.ts";
import { startDirectory } from "../fixtures/scripted-directory.ts";
import { startProxy } from "../fixtures/scripted-proxy.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";
import { pushBodies } from "../fixtures/webhook-bodies.ts";
import { attempt } from "./fixtures/child.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { requires } from "./fixtures/requires.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(180_000);

const program = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

interface SecretSetting {
  /** Keys from the root; `0` in a list, `*` in a mapping with keys of the user's choice. */
  readonly path: readonly string[];
  readonly type: z.ZodType;
  /** What its file holds; undefined when it is the secret itself. */
  readonly holds: z.ZodType | undefined;
}

/** Values that are in no other text. Long enough for every kind of secret, and of characters that all of them may have. */
class Plants {
  readonly all: string[] = [];
  /** Pieces of private keys, which have a form of their own. */
  readonly keys: string[] = [];
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  value(type?: z.ZodType): string {
    const random = randomBytesFor(`plant ${this.all.length}`, 16).toString("hex");
    const plant = `planted${String(this.all.length).padStart(3, "0")}${random}`;
    this.all.push(plant);
    return type === undefined || type.safeParse(plant).success ? plant : `Bearer ${plant}`;
  }

  file(type: z.ZodType): string {
    const path = join(this.#directory, `secret-${this.all.length}-${this.keys.length}`);
    writeFileSync(path, `${isOfKey(type) ? this.key() : this.value(type)}\n`);
    return path;
  }

  /** A private key in PEM. */
  key(): string {
    const pem = newKey();
    const { d = "" } = createPrivateKey(pem).export({ format: "jwk" });
    const bytes = Buffer.from(d, "base64url");
    this.keys.push(d, ...["hex", "base64"].map((each) => bytes.toString(each as "hex")));
    this.keys.push(...pem.split("\n").filter((line) => line.length > 40 && !line.startsWith("-----")));
    return pem;
  }
}

function newKey(): string {
  return generateKeyPairSync("ec", { namedCurve: "P-256" })
    .privateKey.export({ type: "pkcs8", format: "pem" })
    .toString();
}

const anyKey = newKey();

/** Whether it is a private key, and not what can be made up. */
function isOfKey(type: z.ZodType): boolean {
  return type.safeParse(anyKey).success && !type.safeParse("p".repeat(40)).success;
}

function* secretsIn(type: z.ZodType, path: readonly string[] = []): Generator<SecretSetting> {
  const holds = traits.get(type)?.holds;
  const isSecret = traits.get(type)?.shown === "hidden";
  const samples = ["p".repeat(40), `Bearer ${"p".repeat(40)}`];
  // The public keys of others are no secret.
  if (holds !== undefined && !samples.some((each) => holds.safeParse(each).success) && !isOfKey(holds))
    return;
  if (
    holds !== undefined ||
    (isSecret && samples.some((each) => type.safeParse(each).data instanceof Secret))
  )
    yield { path, type, holds };
  else if (type instanceof ZodObject)
    for (const [name, each] of Object.entries(type.shape))
      yield* secretsIn(bareType(each as z.ZodType), [...path, name]);
  else if (type instanceof ZodArray) yield* secretsIn(bareType(type.element as z.ZodType), [...path, "0"]);
  else if (type instanceof ZodRecord) yield* secretsIn(bareType(type.valueType as z.ZodType), [...path, "*"]);
}

/** Keys of mappings that may have any. */
const chosen: Readonly<Record<string, string>> = {
  headers: "X-Given",
  headerFiles: "X-From-File",
  secretFiles: "harbor",
};

type Mapping = Record<string, unknown>;

function put(root: Mapping, path: readonly string[], value: unknown): void {
  let at: Mapping | unknown[] = root;
  for (const [depth, step] of path.entries()) {
    const key = step === "*" ? (chosen[path[depth - 1] as string] ?? "x") : step;
    const holder = at as Mapping;
    if (depth === path.length - 1) holder[key] = value;
    else {
      const made = holder[key] ?? (path[depth + 1] === "0" ? [] : {});
      holder[key] = made;
      at = made as Mapping;
    }
  }
}

/**
 * Answers every command of Redis with an error that repeats it, as Redis does with what it does not know. `leadsTo`: the port
 * of the server that it gives as the master instead, as a Sentinel does.
 */
async function startReflectingRedis(
  t: Test,
  leadsTo?: number,
): Promise<{ server: Server; heard: () => string }> {
  let heard = "";
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      const text = bytes.toString("latin1");
      heard += text;
      const words = text.split("\r\n").filter((word) => !/^[*$]/.test(word));
      const address = `*2\r\n$9\r\n127.0.0.1\r\n$${`${leadsTo}`.length}\r\n${leadsTo}\r\n`;
      if (leadsTo !== undefined && text.includes("get-master-addr-by-name")) socket.write(address);
      else if (leadsTo !== undefined) socket.write("+OK\r\n".repeat(text.match(/^\*\d+\r$/gm)?.length ?? 0));
      else
        for (const _ of text.matchAll(/^\*\d+\r$/gm))
          socket.write(`-ERR unknown command, with args beginning with: ${words.join(" ")}\r\n`);
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => void server.close());
  return { server, heard: () => heard };
}

/** Refuses everything as S3 does, with the name of the key in its words. */
async function startRefusingS3(t: Test): Promise<{ url: string; heard: () => string }> {
  let heard = "";
  const server = createHttpServer((request, response) => {
    const { authorization = "" } = request.headers;
    heard += authorization;
    request.resume();
    response.writeHead(403, { "content-type": "application/xml" });
    response.end(`<Error><Code>InvalidAccessKeyId</Code><Message>no key ${authorization}</Message></Error>`);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${portOf(server)}`, heard: () => heard };
}

function portOf(server: { address(): AddressInfo | string | null }): number {
  return (server.address() as AddressInfo).port;
}

/** How a text may stand in another: as it is, in hexadecimal, and in base64 wherever it begins. */
function formsOf(secret: string): readonly string[] {
  const shifted = [0, 1, 2].map((shift) =>
    Buffer.from(" ".repeat(shift) + secret)
      .toString("base64")
      .slice(shift === 0 ? 0 : 4, -4),
  );
  return [secret, Buffer.from(secret).toString("hex"), ...shifted];
}

/** Every file below the directory, by its name, byte for byte. */
function filesBelow(directory: string): (readonly [string, string])[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => [path, `${path}\n${readFileSync(path, "latin1")}`] as const);
}

for (const mode of ["as they are", "in files"] as const)
  t.test(`secrets ${mode}: none comes out`, async (t) => {
    if (!requires(t, "linux")) return;
    const directory = await workDirectory(t);
    const secrets = await workDirectory(t);
    const plants = new Plants(secrets);
    const rightPassword = plants.value();
    const upstream = await startUpstream(t, { password: rightPassword });
    const image = makeImage({ layers: [100_000], seed: "secrets" });
    upstream.addImage("team/app", "1", image);
    const proxy = await startProxy(t, { account: "u:another" });
    const redis = await startReflectingRedis(t);
    // Once the Sentinel repeats what it is sent, once Redis itself.
    const sentinel = mode === "in files" ? redis : await startReflectingRedis(t, portOf(redis.server));
    const s3 = await startRefusingS3(t);
    const receiver = await startReceiver(t);
    receiver.usual = 500;

    // ---- the configuration: a value in every setting that is a secret --------------------------------------------
    const upstreams: Mapping[] = [
      { name: "right", url: upstream.url.href, username: "ci", password: rightPassword, push: true },
      {
        name: "proxied",
        url: "http://registry.example.com",
        proxy: proxy.href("http", `u:${plants.value()}`),
      },
    ];
    const clientPassword = plants.value();
    const users = join(secrets, "users");
    writeFileSync(users, userLine("client", clientPassword));
    const people = await startDirectory(t, []);
    const root: Mapping = {
      listen: "127.0.0.1:0",
      opsListen: "127.0.0.1:0",
      log: { level: "trace" },
      cache: { dir: join(directory, "cache") },
      influx: { dir: directory },
      drainDelay: "0s",
      redis: { sentinels: `127.0.0.1:${portOf(sentinel.server)}`, master: "m", username: "r" },
      s3: { bucket: "bucket", endpoint: s3.url },
      notifications: { endpoints: [{ name: "n", url: `${receiver.url}?key=${plants.value()}` }] },
      siblings: [{ name: "near", url: upstream.url.href, username: "u" }],
      opsAccess: { username: "ops" },
      access: {
        mode: "token",
        htpasswdFile: users,
        ldap: { urls: `ldap://127.0.0.1:${people.server.port}`, bindDn: "cn=mirror", userBase: "dc=example" },
      },
    };
    const found = [...secretsIn(schema)].filter(({ path }) => path[0] !== "upstreams");
    t.ok(found.length > 20, `${found.length} settings`);
    const names = new Set(found.map(({ path }) => path.join(".")));
    const opsPassword: string[] = [];
    const hookSecret: string[] = [];
    for (const { path, type, holds } of found) {
      const name = path.join(".");
      const written = holds === undefined ? () => plants.value(type) : () => plants.file(holds);
      if (path[0] === "upstream") {
        const [, key = ""] = path;
        const account = key.startsWith("password") ? { username: "u" } : {};
        upstreams.push({ name: key.toLowerCase(), url: upstream.url.href, ...account, [key]: written() });
        continue;
      }
      // Of a secret and the file that holds it only one may be set.
      if (
        mode === "in files"
          ? names.has(`${name}File`)
          : names.has(name.replace(/File$/, "")) && name.endsWith("File")
      )
        continue;
      put(root, path, written());
      if (/^opsAccess\.password/.test(name)) opsPassword.push(plants.all.at(-1) as string);
      if (/^webhooks\.secret(?:File)?$/.test(name)) hookSecret.push(plants.all.at(-1) as string);
    }
    const config = join(secrets, "entrepot.yaml");
    const write = (more: Mapping) => writeFileSync(config, JSON.stringify({ ...root, upstreams, ...more }));
    write({});

    // ---- everything goes wrong -----------------------------------------------------------------------------------
    const seen: (readonly [where: string, text: string])[] = [];
    const bare = ["-u", "NODE_OPTIONS", process.execPath, program];
    const checked = await attempt("env", [...bare, "check", "--offline", "--config", config]);
    t.equal(checked.code, 0, checked.output);
    seen.push(["check", checked.output]);

    const cleared = { ENTREPOT_LISTEN: "", ENTREPOT_OPS_LISTEN: "", ENTREPOT_UPSTREAM_URL: "" };
    const account = {
      ENTREPOT_UPSTREAM_USERNAME: "",
      ENTREPOT_UPSTREAM_PASSWORD: "",
      ENTREPOT_CACHE_DIR: "",
    };
    const mirror = await startMirror(
      t,
      { url: "", username: "", password: "" },
      { config, env: { ...cleared, ...account } },
    );
    const client = login("client", clientPassword);
    const headers = { ...client, cookie: `session=${plants.value()}` };
    const ask = async (url: string, init: RequestInit = {}) => {
      const answer = await fetch(url, init);
      seen.push([url.replace(/\?.*/, ""), `${[...answer.headers].join("\n")}\n${await answer.text()}`]);
      return answer.status;
    };
    for (const { name } of upstreams)
      for (const what of ["manifests/1", `blobs/${image.layers[0]?.digest}`, "tags/list"]) {
        const status = await ask(`${mirror.url}/${name}/v2/team/app/${what}`, { headers });
        if (name === "right") t.equal(status, 200, what);
        else t.ok(status >= 400, `${name} ${what}: ${status}`);
      }
    // Tokens of this mirror's own, which are as good as the password while they last, and requests for them that fail.
    const forToken = `${mirror.url}/v2/token?service=entrepot&scope=repository:team/app:pull`;
    const given = (await (await fetch(forToken, { headers: client })).json()) as { token: string };
    const [, claims = "", signature = ""] = given.token.split(".");
    plants.all.push(signature);
    const manifest = `${mirror.url}/right/v2/team/app/manifests/1`;
    t.equal(await ask(manifest, { headers: bearer(given.token) }), 200, "the key of tokens is used");
    t.equal(await ask(manifest, { headers: bearer(`${claims}.${signature}`) }), 401);
    t.equal(await ask(manifest, { headers: bearer(`${given.token}x`) }), 401);
    const form = (password: string): RequestInit => ({
      method: "POST",
      body: new URLSearchParams({
        grant_type: "password",
        service: "entrepot",
        username: "client",
        password,
      }),
    });
    t.equal(await ask(`${mirror.url}/v2/token`, form(plants.value())), 401);
    t.equal(await ask(`${mirror.url}/v2/token?account=${plants.value()}&service=${plants.value()}`), 400);
    const stranger = login("stranger", plants.value());
    t.equal(await ask(`${mirror.url}/v2/`, { headers: stranger }), 503, "the directory refuses the mirror");
    const body = image.manifest;
    await ask(`${mirror.url}/v2/team/app/manifests/2`, { method: "PUT", headers, body });
    const ops = `http://${mirror.ops}`;
    const hook = JSON.stringify(
      pushBodies.generic({ repository: "team/app", tag: "1", digest: image.digest }),
    );
    const json = { "content-type": "application/json" };
    await ask(`${ops}/hooks/generic?secret=${hookSecret[0]}`, { method: "POST", headers: json, body: hook });
    const guess = { ...json, authorization: `Bearer ${plants.value()}` };
    t.equal(await ask(`${ops}/hooks/generic`, { method: "POST", headers: guess, body: hook }), 401);
    const operator = login("ops", opsPassword[0] ?? "");
    for (const page of ["/", "/stats.json", "/explain.json?image=team/app:1", "/metrics", "/readyz"])
      await ask(`${ops}${page}`, { headers: operator });
    t.equal(await ask(`${ops}/stats.json`, { headers: operator }), 200, "the page was seen");
    await ask(`${ops}/`, { headers: guess });

    // ---- a file that cannot be used, and one with another password -----------------------------------------------
    writeFileSync(config, `upstreams:\n  - name: x\n    passwrd: ${plants.value()}\n   ${plants.value()}: [`);
    mirror.process.signal("SIGHUP");
    await mirror.process.line((line) => line.includes("cannot be used: nothing has changed") || undefined);
    // Another key of tokens as well.
    writeFileSync((root as { access: { token: { keyFile: string } } }).access.token.keyFile, plants.key());
    write({
      upstream: undefined,
      tags: { ttl: "5m" },
      upstreams: upstreams.map((each) => ({
        ...each,
        ...(each.name === "right" ? { password: plants.value() } : {}),
      })),
    });
    mirror.process.signal("SIGHUP");
    await mirror.process.line((line) => line.includes("is used from now on") || undefined);
    await ask(`${mirror.url}/right/v2/team/app/manifests/3`, { headers });
    seen.push(["argv", readFileSync(`/proc/${mirror.process.pid}/cmdline`, "latin1")]);
    await mirror.stop();
    seen.push(["output", mirror.process.output()], ...filesBelow(directory));
    seen.push(["events", JSON.stringify(receiver.events)]);

    const pieces = plants.keys.map((piece) => [`a piece of a key, ${piece.slice(0, 8)}`, piece] as const);
    t.ok(pieces.length > 4, "keys were planted");
    const hidden = [
      ...plants.all.flatMap((plant) => formsOf(plant).map((form) => [plant, form] as const)),
      ...pieces,
    ];
    const leaks = seen.flatMap(([where, text]) =>
      hidden.filter(([, form]) => text.includes(form)).map(([plant]) => `${plant} in ${where}`),
    );
    t.same([...new Set(leaks)], []);
    t.ok(
      seen.some(([where]) => where.endsWith(".sqlite") || where.includes("index")),
      "the index was read",
    );
    // They were used: each went where it is meant to go.
    const sent = JSON.stringify([upstream.requests.map((each) => each.headers), proxy.requests]);
    t.ok(formsOf(rightPassword).some((form) => sent.includes(form)));
    t.match(sent, /planted001/, "the account at the proxy");
    t.match(redis.heard(), /planted\d{3}/);
    t.match(s3.heard(), /planted\d{3}/);
    t.match(JSON.stringify(people.asked), /planted\d{3}/);
    t.match(JSON.stringify(receiver.deliveries.map((each) => each.headers)), /planted\d{3}/);
  });
