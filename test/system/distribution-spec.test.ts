// The endpoints of the OCI distribution-spec ("Endpoints", end-1 to end-13), asked of a registry and of the mirror before one
// like it: what is answered otherwise stands in a list, with the reason for each.
import { createHash } from "node:crypto";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { buffer } from "node:stream/consumers";
import t from "tap";
import { farRegistryPrograms, startRegistry } from "./fixtures/far-registry.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { requires } from "./fixtures/requires.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(180_000);

const image = "application/vnd.oci.image.manifest.v1+json";
const index = "application/vnd.oci.image.index.v1+json";
const docker = "application/vnd.docker.distribution.manifest.v2+json";

const digestOf = (bytes: string | Buffer) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

const blob = Buffer.from(Array.from({ length: 1000 }, (_, i) => i % 251));
const config = Buffer.from('{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}');
const manifest = manifestOf(blob);
const other = Buffer.from("another blob");
const otherManifest = manifestOf(other);
const missing = digestOf("not there");
const indexBody = JSON.stringify({
  schemaVersion: 2,
  mediaType: index,
  manifests: [{ mediaType: image, digest: digestOf(manifest), size: manifest.length }],
});

function manifestOf(layer: Buffer, more: object = {}): string {
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: image,
    config: {
      mediaType: "application/vnd.oci.image.config.v1+json",
      digest: digestOf(config),
      size: config.length,
    },
    layers: [
      { mediaType: "application/vnd.oci.image.layer.v1.tar", digest: digestOf(layer), size: layer.length },
    ],
    ...more,
  });
}

interface Ask {
  readonly method: string;
  /** "LOCATION" at its beginning is that of the last answer that had one; its own query is kept. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

/** Those that the specification or clients give a meaning. */
const compared = [
  "content-type",
  "content-length",
  "content-range",
  "accept-ranges",
  "docker-content-digest",
  "docker-distribution-api-version",
  "etag",
  "link",
  "location",
  "oci-subject",
  "oci-filters-applied",
  "range",
  "www-authenticate",
  "allow",
] as const;

interface Answer {
  /** Status, and the code of an error. */
  readonly outcome: string;
  readonly parts: Readonly<Record<string, string>>;
}

/** Sends it as it is, and gives what there is to compare of the answer. */
class Client {
  readonly #origin: URL;
  #location = "";

  constructor(origin: string) {
    this.#origin = new URL(origin);
  }

  async ask({ method, path, headers = {}, body }: Ask): Promise<Answer> {
    const [, rest] = /^LOCATION(.*)$/.exec(path) ?? [];
    const { hostname, port } = this.#origin;
    const sent = request({
      hostname,
      port,
      method,
      path: rest === undefined ? path : this.#continued(rest),
      headers: { ...headers, ...(body === undefined ? {} : { "content-length": Buffer.byteLength(body) }) },
      agent: false,
    });
    sent.end(body);
    const [answer] = (await once(sent, "response")) as [IncomingMessage];
    this.#location = answer.headers.location ?? this.#location;
    return answerOf(answer, await buffer(answer).catch(() => undefined));
  }

  #continued(rest: string): string {
    const { pathname, search } = new URL(this.#location, this.#origin);
    return pathname + search + (search === "" ? rest : rest.replace("?", "&"));
  }
}

/** `body` is undefined when it broke off. */
function answerOf({ statusCode = 0, headers }: IncomingMessage, body: Buffer | undefined): Answer {
  const isError = statusCode >= 400;
  const json = jsonOf(body);
  const names = isError ? ["allow", "www-authenticate"] : compared;
  const parts = names.flatMap((name) => {
    const value = headers[name];
    // Lengths of JSON differ by spaces; the words of an error, and their length, are nobody's business.
    return value === undefined || (name === "content-length" && json !== undefined)
      ? []
      : [[name, bare(name, String(value))]];
  });
  const { errors, tags } = (json ?? {}) as { errors?: readonly { code?: string }[]; tags?: string[] };
  // The registry has them in the order of its directory.
  tags?.sort();
  const isManifest = String(headers["content-type"]).startsWith("application/vnd.");
  const content = json === undefined || isManifest ? digestOf(body ?? "") : JSON.stringify(json);
  return {
    outcome: [statusCode, ...(isError ? [errors?.[0]?.code ?? []] : [])].flat().join(" "),
    parts: {
      ...Object.fromEntries(parts),
      ...(body === undefined ? { body: "broken off" } : isError ? {} : { body: content }),
    },
  };
}

function jsonOf(body: Buffer | undefined): unknown {
  try {
    return JSON.parse(`${body}`);
  } catch {
    return undefined;
  }
}

/** Without host, order and parameters, and without what names one upload. */
function bare(name: string, value: string): string {
  if (name === "allow") return value.split(", ").toSorted().join(", ");
  if (name === "content-type") return value.replace(/^application\/json;.*/, "application/json");
  if (name !== "location") return value;
  return new URL(value, "http://any").pathname.replace(/\/uploads\/.+$/, "/uploads/ID");
}

/** One text for each thing that is not the same; with another outcome only that. */
function differencesOf(registry: Answer, ours: Answer): string[] {
  const text = (name: string, a = "none", b = "none") => `${name}: ${a}, here ${b}`;
  if (registry.outcome !== ours.outcome) return [text("answer", registry.outcome, ours.outcome)];
  const names = new Set([...Object.keys(registry.parts), ...Object.keys(ours.parts)]);
  return [...names]
    .filter((name) => registry.parts[name] !== ours.parts[name])
    .map((name) => text(name, registry.parts[name], ours.parts[name]));
}

const app = "/v2/team/app";
const upload = { method: "POST", path: `${app}/blobs/uploads/` } as const;
const octets = { "content-type": "application/octet-stream" };

/** In this order: what is written is read and deleted afterwards. */
const asks: Readonly<Record<string, Ask>> = {
  "end-1": { method: "GET", path: "/v2/" },
  "end-1 without its slash": { method: "GET", path: "/v2" },
  "end-1 by HEAD": { method: "HEAD", path: "/v2/" },
  "end-1 by POST": { method: "POST", path: "/v2/" },
  "no endpoint": { method: "GET", path: `${app}/nothing/1` },
  "a name that is none": { method: "GET", path: "/v2/Team/app/manifests/1" },

  "end-4a": upload,
  "end-13, an upload that has just begun": { method: "GET", path: "LOCATION" },
  "end-5, the first part": {
    method: "PATCH",
    path: "LOCATION",
    body: blob.subarray(0, 600),
    headers: { ...octets, "content-range": "0-599" },
  },
  "end-13, an upload under way": { method: "GET", path: "LOCATION" },
  "end-5, the last part": {
    method: "PATCH",
    path: "LOCATION",
    body: blob.subarray(600),
    headers: { ...octets, "content-range": "600-999" },
  },
  "end-6": { method: "PUT", path: `LOCATION?digest=${digestOf(blob)}`, headers: octets },
  "end-4a again": upload,
  "end-6 with all of the blob": {
    method: "PUT",
    path: `LOCATION?digest=${digestOf(config)}`,
    body: config,
    headers: octets,
  },
  "end-4a for a wrong one": upload,
  "end-6 with a digest of something else": {
    method: "PUT",
    path: `LOCATION?digest=${missing}`,
    body: "x",
    headers: octets,
  },
  "end-4a for what is given up": upload,
  "end-5 out of order": {
    method: "PATCH",
    path: "LOCATION",
    body: "x",
    headers: { ...octets, "content-range": "7-7" },
  },
  "an upload given up": { method: "DELETE", path: "LOCATION" },
  "end-4b": {
    method: "POST",
    path: `${app}/blobs/uploads/?digest=${digestOf(other)}`,
    body: other,
    headers: octets,
  },
  "end-4a for the other": upload,
  "end-6 for the other": {
    method: "PUT",
    path: `LOCATION?digest=${digestOf(other)}`,
    body: other,
    headers: octets,
  },
  "an upload nobody began": {
    method: "PATCH",
    path: `${app}/blobs/uploads/nobody`,
    body: "x",
    headers: octets,
  },
  "end-11": { method: "POST", path: `/v2/team/copy/blobs/uploads/?mount=${digestOf(blob)}&from=team/app` },
  "end-11 of what is not there": {
    method: "POST",
    path: `/v2/team/copy/blobs/uploads/?mount=${missing}&from=team/app`,
  },

  "end-7": { method: "PUT", path: `${app}/manifests/1`, body: manifest, headers: { "content-type": image } },
  "end-7 of another": {
    method: "PUT",
    path: `${app}/manifests/2`,
    body: otherManifest,
    headers: { "content-type": image },
  },
  "end-7 by digest": {
    method: "PUT",
    path: `${app}/manifests/${digestOf(manifest)}`,
    body: manifest,
    headers: { "content-type": image },
  },
  "end-7 by the wrong digest": {
    method: "PUT",
    path: `${app}/manifests/${missing}`,
    body: manifest,
    headers: { "content-type": image },
  },
  "end-7 of an index": {
    method: "PUT",
    path: `${app}/manifests/index`,
    body: indexBody,
    headers: { "content-type": index },
  },
  "end-7 of what is no manifest": {
    method: "PUT",
    path: `${app}/manifests/3`,
    body: "{",
    headers: { "content-type": image },
  },
  "end-7 without its layer": {
    method: "PUT",
    path: `${app}/manifests/3`,
    body: manifestOf(Buffer.from("gone")),
    headers: { "content-type": image },
  },
  "end-7 with a subject": {
    method: "PUT",
    path: `${app}/manifests/signature`,
    body: manifestOf(blob, {
      subject: { mediaType: image, digest: digestOf(manifest), size: manifest.length },
    }),
    headers: { "content-type": image },
  },

  "end-2": { method: "GET", path: `${app}/blobs/${digestOf(blob)}` },
  "end-2 by HEAD": { method: "HEAD", path: `${app}/blobs/${digestOf(blob)}` },
  "end-2 of another repository": { method: "GET", path: `/v2/team/copy/blobs/${digestOf(blob)}` },
  "end-2 of what is not there": { method: "GET", path: `${app}/blobs/${missing}` },
  "end-2 by HEAD of what is not there": { method: "HEAD", path: `${app}/blobs/${missing}` },
  "end-2 of no repository": { method: "GET", path: `/v2/nobody/app/blobs/${missing}` },
  "end-2 of what is no digest": { method: "GET", path: `${app}/blobs/sha256:12` },
  "end-2 of an algorithm nobody knows": { method: "GET", path: `${app}/blobs/md9:${"0".repeat(32)}` },
  "end-2, a range": {
    method: "GET",
    path: `${app}/blobs/${digestOf(blob)}`,
    headers: { range: "bytes=10-19" },
  },
  "end-2, the rest": {
    method: "GET",
    path: `${app}/blobs/${digestOf(blob)}`,
    headers: { range: "bytes=990-" },
  },
  "end-2, the end": {
    method: "GET",
    path: `${app}/blobs/${digestOf(blob)}`,
    headers: { range: "bytes=-10" },
  },
  "end-2, a range behind the end": {
    method: "GET",
    path: `${app}/blobs/${digestOf(blob)}`,
    headers: { range: "bytes=2000-" },
  },
  "end-2, a range of no bytes": {
    method: "GET",
    path: `${app}/blobs/${digestOf(blob)}`,
    headers: { range: "lines=1-2" },
  },
  "end-2, a range that is none": {
    method: "GET",
    path: `${app}/blobs/${digestOf(blob)}`,
    headers: { range: "bytes=x" },
  },
  "end-2, unchanged": {
    method: "GET",
    path: `${app}/blobs/${digestOf(blob)}`,
    headers: { "if-none-match": `"${digestOf(blob)}"` },
  },
  "end-2 by POST": { method: "POST", path: `${app}/blobs/${digestOf(blob)}` },

  "end-3": { method: "GET", path: `${app}/manifests/1`, headers: { accept: image } },
  "end-3 by HEAD": { method: "HEAD", path: `${app}/manifests/1`, headers: { accept: image } },
  "end-3 by digest": {
    method: "GET",
    path: `${app}/manifests/${digestOf(manifest)}`,
    headers: { accept: image },
  },
  "end-3 of an index": { method: "GET", path: `${app}/manifests/index`, headers: { accept: index } },
  "end-3 with any type": { method: "GET", path: `${app}/manifests/1`, headers: { accept: "*/*" } },
  "end-3 with no type": { method: "GET", path: `${app}/manifests/1` },
  "end-3 with another type": { method: "GET", path: `${app}/manifests/1`, headers: { accept: docker } },
  "end-3 of an index with the type of images": {
    method: "GET",
    path: `${app}/manifests/index`,
    headers: { accept: image },
  },
  "end-3, unchanged": {
    method: "GET",
    path: `${app}/manifests/1`,
    headers: { accept: image, "if-none-match": `"${digestOf(manifest)}"` },
  },
  "end-3 of what is not there": { method: "GET", path: `${app}/manifests/none`, headers: { accept: image } },
  "end-3 by HEAD of what is not there": {
    method: "HEAD",
    path: `${app}/manifests/none`,
    headers: { accept: image },
  },
  "end-3 by a digest that is not there": {
    method: "GET",
    path: `${app}/manifests/${missing}`,
    headers: { accept: image },
  },
  "end-3 of no repository": { method: "GET", path: "/v2/nobody/app/manifests/1", headers: { accept: image } },
  "end-3 of what is no tag": { method: "GET", path: `${app}/manifests/-x`, headers: { accept: image } },
  "end-3 by POST": { method: "POST", path: `${app}/manifests/1` },

  "end-8a": { method: "GET", path: `${app}/tags/list` },
  "end-8b": { method: "GET", path: `${app}/tags/list?n=2` },
  "end-8b, the next page": { method: "GET", path: `${app}/tags/list?n=2&last=2` },
  "end-8b, none": { method: "GET", path: `${app}/tags/list?n=0` },
  "end-8b, fewer than none": { method: "GET", path: `${app}/tags/list?n=-1` },
  "end-8b, no number": { method: "GET", path: `${app}/tags/list?n=x` },
  "end-8a of no repository": { method: "GET", path: "/v2/nobody/app/tags/list" },
  "end-12a": { method: "GET", path: `${app}/referrers/${digestOf(manifest)}` },
  "end-12a of what is no digest": { method: "GET", path: `${app}/referrers/1` },

  "end-9 of a tag": { method: "DELETE", path: `${app}/manifests/2` },
  "end-9": { method: "DELETE", path: `${app}/manifests/${digestOf(otherManifest)}` },
  "end-9 again": { method: "DELETE", path: `${app}/manifests/${digestOf(otherManifest)}` },
  "end-3 of what was deleted": { method: "GET", path: `${app}/manifests/2`, headers: { accept: image } },
  "end-10": { method: "DELETE", path: `${app}/blobs/${digestOf(other)}` },
  "end-10 again": { method: "DELETE", path: `${app}/blobs/${digestOf(other)}` },
  "end-2 of what was deleted": { method: "GET", path: `${app}/blobs/${digestOf(other)}` },
};

interface Difference {
  readonly expected: readonly string[];
  readonly why: string;
}

const grammar = "what breaks the specification's grammar is answered without asking anybody";
const codes = "errors have a code, by which clients go";
const pages = "Distribution 2.8 knows no pages";
const ignored = "a Range that cannot be read is ignored (RFC 9110, section 14.2)";

/** What the mirror answers otherwise than Distribution 2.8 does. */
const differences: Readonly<Record<string, Difference>> = {
  "end-1 without its slash": {
    expected: ["answer: 301, here 200"],
    why: "who asks so is spared the way round",
  },
  "end-1 by POST": {
    expected: ["answer: 200, here 405 UNSUPPORTED"],
    why: "the specification has GET there",
  },
  "no endpoint": { expected: ["answer: 404, here 404 UNSUPPORTED"], why: codes },
  "a name that is none": {
    expected: ["answer: 404 MANIFEST_UNKNOWN, here 400 NAME_INVALID"],
    why: grammar,
  },
  "end-2, a range behind the end": {
    expected: ["body: broken off, here none"],
    why: "the registry says the length of the blob and sends that of the error",
  },
  "end-2, a range of no bytes": { expected: ["answer: 416, here 200"], why: ignored },
  "end-2, a range that is none": { expected: ["answer: 416, here 200"], why: ignored },
  "end-2, unchanged": {
    expected: ["content-type: none, here application/octet-stream", "accept-ranges: none, here bytes"],
    why: "a 304 has the headers of the 200",
  },
  "end-2 by POST": { expected: ["answer: 405, here 405 UNSUPPORTED"], why: codes },
  "end-3 with any type": {
    expected: ["answer: 404 MANIFEST_UNKNOWN, here 200"],
    why: "who takes any type takes those of OCI",
  },
  "end-3 with no type": {
    expected: ["answer: 404 MANIFEST_UNKNOWN, here 200"],
    why: "who names no type takes any (RFC 9110, section 12.5.1)",
  },
  "end-3, unchanged": {
    expected: [
      `content-type: none, here ${image}`,
      `docker-content-digest: none, here ${digestOf(manifest)}`,
      `etag: none, here "${digestOf(manifest)}"`,
    ],
    why: "a 304 has the ETag of the 200 (RFC 9110, section 15.4.5), and its other headers",
  },
  "end-3 of what is no tag": { expected: ["answer: 404, here 400 TAG_INVALID"], why: grammar },
  "end-3 by POST": { expected: ["answer: 405, here 405 UNSUPPORTED"], why: codes },
  "end-8b": {
    expected: [
      `body: ${tagList("1", "2", "index", "signature")}, here ${tagList("1", "2")}`,
      'link: none, here </v2/team/app/tags/list?n=2&last=2>; rel="next"',
    ],
    why: pages,
  },
  "end-8b, the next page": {
    expected: [`body: ${tagList("1", "2", "index", "signature")}, here ${tagList("index", "signature")}`],
    why: pages,
  },
  "end-8b, none": {
    expected: [`body: ${tagList("1", "2", "index", "signature")}, here ${tagList()}`],
    why: pages,
  },
  "end-8b, fewer than none": {
    expected: ["answer: 200, here 400 PAGINATION_NUMBER_INVALID"],
    why: `${pages}; 3 answers so`,
  },
  "end-8b, no number": {
    expected: ["answer: 200, here 400 PAGINATION_NUMBER_INVALID"],
    why: `${pages}; 3 answers so`,
  },
  "end-12a": { expected: ["answer: 404, here 404 MANIFEST_UNKNOWN"], why: codes },
  "end-12a of what is no digest": { expected: ["answer: 404, here 400 DIGEST_INVALID"], why: grammar },
};

function tagList(...tags: readonly string[]): string {
  return JSON.stringify({ name: "team/app", tags });
}

t.test("what the mirror answers otherwise than the registry behind it", async (t) => {
  if (!requires(t, ...farRegistryPrograms)) return;
  const start = async () => await startRegistry(t, await workDirectory(t));
  const far = await start();
  const mirror = await startMirror(
    t,
    { url: far.href, username: "", password: "" },
    {
      env: {
        ENTREPOT_UPSTREAM_PUSH: "true",
        ENTREPOT_UPSTREAM_USERNAME: "",
        ENTREPOT_UPSTREAM_PASSWORD: "",
        ENTREPOT_UPSTREAM_REDIRECTS_TO: "127.0.0.1",
      },
    },
  );
  const [direct, through] = [new Client((await start()).href), new Client(mirror.url)];
  for (const [name, ask] of Object.entries(asks)) {
    const found = differencesOf(await direct.ask(ask), await through.ask(ask));
    const { expected = [], why = "no difference is known" } = differences[name] ?? {};
    t.same(found, expected, `${name}: ${expected.length === 0 ? "the same" : why}`);
  }
  t.same(
    Object.keys(differences).filter((name) => asks[name] === undefined),
    [],
    "every difference is about a question that is asked",
  );
});
