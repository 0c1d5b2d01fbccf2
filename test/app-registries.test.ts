// Each kind of registry of docs/upstreams.md that can be scripted: one that names its account, its tokens, its redirects and
// what it does not have in its own way.
import { readFileSync } from "node:fs";
import t from "tap";
import type { UpstreamConfig } from "../src/config/config.ts";
import { basicAuth } from "./fixtures/connected-upstream.ts";
import { makeImage } from "./fixtures/images.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { startObjectStorage } from "./fixtures/object-storage.ts";
import { type ScriptedUpstream, startUpstream, type UpstreamRequest } from "./fixtures/scripted-upstream.ts";
import { startTokenServer, type TokenServer } from "./fixtures/token-server.ts";
import type { Fault } from "./fixtures/upstream-fault.ts";

const image = makeImage({ layers: [200_000], seed: "registries" });
const blobs = [image.config, ...image.layers];
const absent = "team/absent";

interface Parts {
  readonly registry: ScriptedUpstream;
  readonly tokens: TokenServer;
}

interface Kind {
  readonly name: string;
  readonly path?: string;
  readonly account?: readonly [username: string, password: string];
  /** It takes tokens; left out: the account itself. */
  readonly bearer?: true;
  readonly config?: Partial<UpstreamConfig>;
  /** What it answers in its own way. */
  readonly answers?: (request: UpstreamRequest, parts: Parts) => Fault | undefined;
  /** Blobs come from a storage at another host. */
  readonly redirects?: true;
  /** What a client is told of a repository that is not there. */
  readonly absent: 403 | 404;
}

const refusal = (status: number, code: string, headers: Record<string, string> = {}): Fault => ({
  status,
  headers: { "content-type": "application/json", ...headers },
  body: JSON.stringify({ errors: [{ code, message: `${code} by the test` }] }),
});
const unknown = refusal(404, "NAME_UNKNOWN");
const whenAbsent = (fault: Fault) => (request: UpstreamRequest) =>
  request.repository === absent && request.headers.authorization !== undefined ? fault : undefined;
const json = '{\n  "type": "service_account"\n}\n';

const kinds: readonly Kind[] = [
  {
    name: "Docker Hub",
    bearer: true,
    redirects: true,
    // Its tokens are not for what is not there.
    absent: 403,
    answers: ({ kind }) =>
      kind === "manifest" ? { headers: { "ratelimit-remaining": "98;w=21600" } } : undefined,
  },
  {
    name: "GHCR",
    bearer: true,
    redirects: true,
    absent: 403,
    answers: (request, { tokens }) => {
      const example = `Bearer realm="${tokens.realm}",service="${tokens.service}",scope="repository:user/image:pull"`;
      if (request.kind === "ping") return refusal(401, "UNAUTHORIZED", { "www-authenticate": example });
      if (request.headers.range?.includes(",")) return { status: 501 };
      return whenAbsent(refusal(403, "DENIED"))(request);
    },
  },
  {
    name: "Quay",
    account: ["team+mirror", "robot-token"],
    bearer: true,
    redirects: true,
    absent: 403,
    answers: whenAbsent(refusal(401, "UNAUTHORIZED")),
  },
  {
    name: "Amazon ECR",
    path: "",
    account: ["AWS", "token"],
    redirects: true,
    absent: 404,
    answers: whenAbsent(unknown),
  },
  {
    name: "Amazon ECR",
    bearer: true,
    redirects: true,
    absent: 404,
    // The public one refuses HEAD, whatever the token.
    answers: (request) =>
      request.method === "HEAD" ? refusal(401, "UNAUTHORIZED") : whenAbsent(unknown)(request),
  },
  {
    name: "Google",
    account: ["_json_key", json],
    absent: 403,
    // To another path of its own.
    answers: (request, { registry }) => {
      const blob = blobs.find(({ digest }) => request.path.includes(digest));
      if (request.path.startsWith("/artifacts-downloads/")) return { status: 200, body: blob?.bytes ?? "" };
      if (request.kind === "blob" && blob !== undefined)
        return {
          status: 302,
          headers: { location: `${registry.url.origin}/artifacts-downloads/${blob.digest}` },
        };
      return whenAbsent(refusal(403, "DENIED"))(request);
    },
  },
  {
    name: "Azure",
    account: ["00000000-0000-0000-0000-000000000000", "refresh-token"],
    bearer: true,
    redirects: true,
    absent: 404,
    answers: whenAbsent(unknown),
  },
  { name: "GitLab", bearer: true, redirects: true, absent: 403 },
  {
    name: "Harbor",
    account: ["robot$mirror", "robot-token"],
    bearer: true,
    absent: 404,
    answers: whenAbsent(refusal(404, "NOT_FOUND")),
  },
  { name: "Nexus", path: "/repository/docker-group", absent: 404, answers: whenAbsent(unknown) },
  {
    name: "Artifactory",
    path: "/artifactory/api/docker/docker-local",
    absent: 404,
    answers: whenAbsent(unknown),
  },
  { name: "Artifactory", config: { repositoryPrefix: "docker-remote" }, absent: 404 },
  { name: "zot", absent: 404, answers: whenAbsent(unknown) },
];

for (const kind of kinds)
  t.test(`${kind.name}${kind.config === undefined ? "" : ", by repository path"}`, async (t) => {
    const { path = "", account: [username, password] = ["mirror", "hunter2"], bearer } = kind;
    const storage = await startObjectStorage(t, blobs, { refusesHead: true });
    const stored = (digest: string): string =>
      `http://127.0.0.1:${storage.port}/bucket/${digest}?X-Amz-Signature=s1gned`;
    const tokens = await startTokenServer(t, { username, password });
    tokens.forbidden.add(kind.answers === undefined || kind.name === "Docker Hub" ? absent : "");
    const registry = await startUpstream(t, {
      path,
      username,
      password,
      ...(bearer ? { bearer: tokens } : {}),
    });
    const prefix = kind.config?.repositoryPrefix;
    registry.addImage(prefix === undefined ? "team/app" : `${prefix}/team/app`, "1", image);
    const parts = { registry, tokens };
    registry.fault((request) => {
      const { authorization } = request.headers;
      const may = bearer === undefined || request.kind !== "blob" || authorization?.startsWith("Bearer ");
      if (
        kind.redirects &&
        request.kind === "blob" &&
        may &&
        authorization !== undefined &&
        request.method === "GET"
      )
        return { status: 307, headers: { location: stored(String(request.reference)) } };
      return kind.answers?.(request, parts);
    });
    const mirror = await startMirror(t, registry, {
      upstream: {
        auth: basicAuth(username, password),
        tokenRealms: [tokens.realm.host],
        redirectsTo: ["127.0.0.1"],
        ...kind.config,
      },
    });
    const headers = { "docker-content-digest": image.digest };
    t.match(await mirror.ask("HEAD", "/v2/team/app/manifests/1"), { status: 200, headers });
    t.match(await mirror.get(`/v2/team/app/manifests/${image.digest}`), {
      status: 200,
      body: image.manifest,
    });
    for (const { digest, bytes } of blobs) {
      const blob = `/v2/team/app/blobs/${digest}`;
      t.match(await mirror.ask("HEAD", blob), {
        status: 200,
        headers: { "content-length": `${bytes.length}` },
      });
      for (let time = 0; time < 2; time++) t.match(await mirror.get(blob), { status: 200, body: bytes });
    }
    t.equal((await mirror.get(`/v2/${absent}/manifests/1`)).status, kind.absent, "what is not there");
    if (kind.redirects) {
      const whole = storage.asked.filter(({ digest }) => blobs.some((blob) => blob.digest === digest));
      t.ok(whole.length >= blobs.length);
      t.ok(
        whole.every(({ authorization }) => authorization === undefined),
        "a storage is told no account",
      );
    }
  });

t.test("every row of docs/upstreams.md that says scripted is one of these, or names its test", (t) => {
  const text = readFileSync(new URL("../docs/upstreams.md", import.meta.url), "utf8");
  const scripted = [...text.matchAll(/^\| \[(.+?)\]\(.+?\) \| scripted/gm)].map(([, name = ""]) => name);
  t.same(new Set(scripted), new Set([...kinds.map(({ name }) => name), "registry.k8s.io"]));
  t.end();
});
