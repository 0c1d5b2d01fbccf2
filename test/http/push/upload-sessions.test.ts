import t from "tap";
import { type RequestNames, UploadSessions } from "../../../src/http/push/upload-sessions.ts";
import type { Digest } from "../../../src/oci/digest.ts";
import type { Repository } from "../../../src/oci/name.ts";
import { parseTarget } from "../../../src/oci/route.ts";
import type { Upload } from "../../../src/oci/upload.ts";
import type { UpstreamError } from "../../../src/ports/upstream.ts";

const digest = `sha256:${"a".repeat(64)}` as Digest;
const repository = "team/app" as Repository;
const base = new URL("https://registry.example.com/api/docker");
const asked = new URL(`${base.href}/v2/team/app/blobs/uploads/`);
const names: RequestNames = { prefix: "", ns: undefined, repository, upstreamRepository: repository };
const start: Upload = { session: undefined, digest: undefined, mount: undefined, from: undefined, state: [] };

/** What the listener reads out of a Location of ours. */
function reads(location: string): Upload {
  const route = parseTarget(location);
  if (typeof route === "string" || route.kind !== "upload") throw new Error(`${location} is ${route}`);
  return route.upload;
}

function open(time = { now: 0 }): UploadSessions {
  return new UploadSessions(base, () => time.now);
}

t.test("an address below upstream's uploads is turned into ours, and back", async (t) => {
  const sessions = open();
  const below = "/api/docker/v2/team/app/blobs/uploads";
  const cases: [string, string, string][] = [
    [`${base.origin}${below}/id`, "/v2/team/app/blobs/uploads/id", `${below}/id`],
    [`${below}/id`, "/v2/team/app/blobs/uploads/id", `${below}/id`],
    ["id", "/v2/team/app/blobs/uploads/id", `${below}/id`],
    [`http://registry.example.com${below}/id`, "/v2/team/app/blobs/uploads/id", `${below}/id`],
    [
      `${below}/id?_state=a%2Fb%3D%3D&part=2`,
      "/v2/team/app/blobs/uploads/id?_state=a%2Fb%3D%3D&part=2",
      `${below}/id?_state=a%2Fb%3D%3D&part=2`,
    ],
  ];
  for (const [location, ours, theirs] of cases) {
    const given = sessions.locationOf(names, start, asked, location);
    t.equal(given, ours, location);
    t.equal(sessions.urlOf(repository, reads(given)).href, `${base.origin}${theirs}`);
  }
  const elsewhere = { ...names, prefix: "far/away", ns: "docker.io" };
  const given = sessions.locationOf(elsewhere, start, asked, `${below}/id?_state=1`);
  t.equal(given, "/far/away/v2/team/app/blobs/uploads/id?_state=1&ns=docker.io");
  t.equal(sessions.urlOf(repository, reads(given)).search, "?_state=1");
});

t.test("any other address stays here, under a name that says nothing", async (t) => {
  const sessions = open();
  const addresses = [
    "https://storage.example.com/bucket/key?X-Amz-Signature=abc%20def~&x=1",
    "https://registry.example.com/elsewhere/v2/team/app/blobs/uploads/id",
    "https://registry.example.com:8443/api/docker/v2/team/app/blobs/uploads/id",
    "/api/docker/v2/team/other/blobs/uploads/id",
    "/api/docker/v2/team/app/blobs/uploads/",
    "/api/docker/v2/team/app/blobs/uploads/a:b",
    "/api/docker/v2/team/app/blobs/uploads/a/b",
    "/api/docker/v2/team/app/blobs/uploads/a%2fb",
    "/api/docker/v2/team/app/blobs/uploads/id?from=../x",
    `/api/docker/v2/team/app/blobs/uploads/id?_state=${"x".repeat(4_000)}`,
  ];
  for (const address of addresses) {
    const given = sessions.locationOf(names, start, asked, address);
    t.match(given, /^\/v2\/team\/app\/blobs\/uploads\/[\w-]{32}$/, address.slice(0, 90));
    const back = sessions.urlOf(repository, reads(given));
    t.equal(back.href, new URL(address, asked).href);
    const done = sessions.urlOf(repository, { ...reads(given), digest });
    const joint = back.search === "" ? "?" : "&";
    t.equal(done.href, `${back.href}${joint}digest=${encodeURIComponent(digest)}`, "what is signed stays so");
  }
  const locations = addresses.map((address) => sessions.locationOf(names, start, asked, address));
  t.equal(new Set(locations).size, locations.length);
});

t.test("credentials and fragments of a Location are dropped", async (t) => {
  const sessions = open();
  const given = sessions.locationOf(names, start, asked, "https://u:p@storage.example.com/key#part");
  t.equal(sessions.urlOf(repository, reads(given)).href, "https://storage.example.com/key");
});

t.test("one upload keeps its name; another repository's is not found, nor one that is over", async (t) => {
  const time = { now: 0 };
  const sessions = open(time);
  const first = sessions.locationOf(names, start, asked, "https://storage.example.com/1");
  const upload = reads(first);
  const url = sessions.urlOf(repository, upload);
  t.equal(sessions.locationOf(names, upload, url, "/2"), first, "relative to where it was asked");
  t.equal(sessions.urlOf(repository, upload).href, "https://storage.example.com/2");
  const stranger = sessions.urlOf("team/other" as Repository, upload);
  t.equal(stranger.origin, base.origin, "asked for at upstream, which does not know it");
  time.now += 3_599_999;
  t.equal(sessions.urlOf(repository, upload).host, "storage.example.com", "used within the hour");
  time.now += 3_600_001;
  t.equal(sessions.urlOf(repository, upload).host, base.host, "and not within the next");
  const again = reads(sessions.locationOf(names, start, asked, "https://storage.example.com/3"));
  sessions.forget(again);
  t.equal(sessions.urlOf(repository, again).host, base.host);
});

t.test("thousands of uploads nobody ends do not pile up", async (t) => {
  const sessions = open();
  const long = `https://storage.example.com/${"k".repeat(8_000)}`;
  const uploads = Array.from({ length: 12_000 }, () => reads(sessions.locationOf(names, start, asked, long)));
  const kept = uploads.filter((upload) => sessions.urlOf(repository, upload).host !== base.host);
  t.ok(kept.length > 1_000 && kept.length < 2_200, `${kept.length} of 8 kB each are kept`);
  t.ok(kept.includes(uploads.at(-1) ?? start), "the latest");
});

t.test("where an upload may not be led", async (t) => {
  const sessions = open();
  const refused = ["http://storage.example.com/key", "ftp://a/b", "file:///etc/passwd", "http://", "data:,x"];
  for (const location of [...refused, `/${"x".repeat(8_192)}`]) {
    try {
      sessions.locationOf(names, start, asked, location);
      t.fail(location);
    } catch (error) {
      t.match(error, { code: "protocol" });
      t.notMatch((error as UpstreamError).message, "storage", "an address can be a credential");
    }
  }
});
