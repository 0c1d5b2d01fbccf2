// Pushing under every name that pulling works under: what arrives upstream, and where a Location leads.
import t, { type Test } from "tap";
import type { UpstreamConfig } from "../../src/config/config.ts";
import { plainUpstream } from "../../src/config/config.ts";
import { basicAuth } from "../fixtures/connected-upstream.ts";
import { type Content, makeContent, makeImage, randomBytesFor } from "../fixtures/images.ts";
import { type Answer, type Mirror, startMirror } from "../fixtures/mirror.ts";
import { completed } from "../fixtures/push-client.ts";
import { type Locations, type PushUpstream, startPushUpstream } from "../fixtures/push-upstream.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

interface Both {
  readonly upstream: PushUpstream;
  readonly mirror: Mirror;
}

/** A mirror whose default upstream takes no writes; the other, `far`, does. */
async function startFar(
  t: Test,
  routing: Partial<UpstreamConfig>,
  changes: Partial<UpstreamConfig> = {},
): Promise<Both> {
  const [other, upstream] = [await startUpstream(t), await startPushUpstream(t)];
  const plain = plainUpstream("far", upstream.url);
  const far: UpstreamConfig = {
    ...plain,
    auth: basicAuth(upstream.username, upstream.password),
    ...routing,
    push: true,
    redirectsTo: ["127.0.0.1"],
    ...changes,
  };
  return {
    upstream,
    mirror: await startMirror(t, other, { more: [far], tags: { ttl: Number.POSITIVE_INFINITY } }),
  };
}

/** How a client names a repository: the path up to the endpoint, a query for every request, its Host header. */
interface Named {
  readonly path: string;
  readonly ns?: string;
  readonly host?: string;
}

class Client {
  readonly #mirror: Mirror;
  readonly #named: Named;

  constructor(mirror: Mirror, named: Named) {
    this.#mirror = mirror;
    this.#named = named;
  }

  ask(
    method: string,
    endpoint: string,
    headers: Record<string, string> = {},
    body?: Buffer,
  ): Promise<Answer> {
    const { path, ns } = this.#named;
    const joint = endpoint.includes("?") ? "&" : "?";
    return this.#send(
      method,
      `${path}/${endpoint}${ns === undefined ? "" : `${joint}ns=${ns}`}`,
      headers,
      body,
    );
  }

  /** POST, PATCH, a look at how far it is, PUT; every Location on the way. */
  async upload({ digest, bytes }: Content): Promise<readonly string[]> {
    const begun = locationOf(await this.ask("POST", "blobs/uploads/"));
    const sent = locationOf(await this.#send("PATCH", begun, {}, bytes));
    const seen = await this.#send("GET", sent);
    if (seen.status !== 204) throw new Error(`the session was answered ${seen.status}`);
    const done = locationOf(await this.#send("PUT", completed(sent, digest)));
    return [begun, sent, done];
  }

  #send(
    method: string,
    target: string,
    headers: Record<string, string> = {},
    body?: Buffer,
  ): Promise<Answer> {
    const { host } = this.#named;
    return this.#mirror.ask(method, target, { ...headers, ...(host === undefined ? {} : { host }) }, body);
  }
}

function locationOf({ status, headers }: Answer): string {
  if (headers.location === undefined) throw new Error(`no Location with status ${status}`);
  return headers.location;
}

const prefixed = { repositoryPrefix: "docker-local" };
const cases: readonly {
  readonly name: string;
  readonly named: Named;
  readonly routing: Partial<UpstreamConfig>;
  readonly changes?: Partial<UpstreamConfig>;
  readonly upstreamRepository: string;
}[] = [
  {
    name: "component",
    named: { path: "/v2/hub/team/app" },
    routing: { component: "hub" },
    upstreamRepository: "team/app",
  },
  {
    name: "library",
    named: { path: "/far/v2/app" },
    routing: { library: true },
    upstreamRepository: "library/app",
  },
  {
    name: "library that is taken away",
    named: { path: "/far/v2/library/app" },
    routing: { library: "strip" },
    upstreamRepository: "app",
  },
  {
    name: "repositoryPrefix",
    named: { path: "/far/v2/team/app" },
    routing: {},
    changes: prefixed,
    upstreamRepository: "docker-local/team/app",
  },
  {
    name: "virtual host",
    named: { path: "/v2/team/app", host: "hub.example.com:5000" },
    routing: { hosts: ["hub.example.com"] },
    upstreamRepository: "team/app",
  },
  {
    name: "namespace",
    named: { path: "/v2/app", ns: "docker.io" },
    routing: { namespaces: ["docker.io"], library: true },
    upstreamRepository: "library/app",
  },
  {
    name: "all of it",
    named: { path: "/far/v2/hub/app" },
    routing: { component: "hub", library: true },
    changes: prefixed,
    upstreamRepository: "docker-local/library/app",
  },
];

for (const { name, named, routing, changes, upstreamRepository } of cases)
  t.test(`${name}: pushed, pulled and deleted under one name`, async (t) => {
    const { upstream, mirror } = await startFar(t, routing, changes);
    const client = new Client(mirror, named);
    const image = makeImage({ layers: [1_000, 2_000], seed: name });
    t.match(await client.ask("GET", "manifests/1"), { status: 404 });
    const kinds: readonly Locations[] = ["absolute", "relative", "foreign"];
    for (const [at, content] of [image.config, ...image.layers].entries()) {
      upstream.locations = kinds[at] ?? "absolute";
      for (const location of await client.upload(content)) {
        t.ok(location.startsWith(`${named.path}/blobs/`), location);
        if (location.includes("uploads")) t.equal(/[?&]ns=([^&]*)/.exec(location)?.[1], named.ns, location);
      }
      t.ok(upstream.content(upstreamRepository).blobs.has(content.digest), upstreamRepository);
    }
    const headers = { "content-type": image.mediaType };
    const put = await client.ask("PUT", "manifests/1", headers, image.manifest);
    t.match(put, { status: 201, headers: { location: `${named.path}/manifests/${image.digest}` } });
    t.ok(upstream.content(upstreamRepository).tags.has("1"));
    for (const endpoint of ["manifests/1", `blobs/${image.layers[0]?.digest}`])
      t.equal((await client.ask("GET", endpoint)).status, 200, "what was missing is there at once");
    t.match(await client.ask("DELETE", "manifests/1"), { status: 202 });
    t.match(await client.ask("GET", "manifests/1"), { status: 404 });
    t.ok(
      mirror.lines.every(({ repository }) => repository === undefined || !`${repository}`.startsWith("hub")),
    );
  });

const blob = makeContent(randomBytesFor("mounted", 1_000));

t.test("a mount: from where the client may read at the same upstream, else a plain upload", async (t) => {
  const routing = { component: "hub", library: true, deny: ["secret/**"] };
  const { upstream, mirror } = await startFar(t, routing, prefixed);
  for (const repository of ["library/base", "secret/base"])
    upstream.content(`docker-local/${repository}`).blobs.set(blob.digest, blob.bytes);
  const mount = async (from: string | undefined): Promise<Answer> => {
    upstream.requests.length = 0;
    const source = from === undefined ? "" : `&from=${encodeURIComponent(from)}`;
    const query = `mount=${blob.digest}${source}`;
    return await mirror.ask("POST", `/v2/hub/team/app/blobs/uploads/?${query}`);
  };
  t.match(await mount("hub/base"), {
    status: 201,
    headers: { location: `/v2/hub/team/app/blobs/${blob.digest}` },
  });
  t.match(
    upstream.requests[0]?.path,
    /\/docker-local\/team\/app\/blobs\/uploads\/\?.*from=docker-local%2Flibrary%2Fbase/,
  );
  t.equal((await mirror.get(`/v2/hub/team/app/blobs/${blob.digest}`)).status, 200);
  for (const from of ["base", "library/base", "hub/secret/base", undefined]) {
    const answer = await mount(from);
    t.equal(answer.status, 202, from ?? "from anywhere");
    t.match(answer.headers.location, /^\/v2\/hub\/team\/app\/blobs\/uploads\//);
    t.notMatch(upstream.requests[0]?.path, /mount|from/, "upstream does not hear of it");
  }
});

t.test("what may not be read may not be written, under any name", async (t) => {
  const { upstream, mirror } = await startFar(t, { component: "hub", deny: ["secret/**"] });
  t.match(await mirror.ask("POST", "/v2/hub/secret/app/blobs/uploads/"), { status: 403 });
  t.match(await mirror.ask("POST", "/v2/team/app/blobs/uploads/"), { status: 405 }, "the default takes none");
  t.same(upstream.requests, []);
});

t.test("a name that is too long with the prefix goes nowhere", async (t) => {
  const { upstream, mirror } = await startFar(t, {}, prefixed);
  const long = `a${"/b".repeat(126)}`;
  t.match(await mirror.ask("POST", `/far/v2/${long}/blobs/uploads/`), { status: 502 });
  t.same(upstream.requests, []);
});
