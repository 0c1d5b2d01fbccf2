// Writes that upstream redirects, or whose kept connection is lost: what is in memory is sent again, the rest says why
// it is not.
import t from "tap";
import { HeldBodies } from "../../../src/http/push/held-bodies.ts";
import { makeImage } from "../../fixtures/images.ts";
import { openRequest, pushImage, pushManifest, readAnswer } from "../../fixtures/push-client.ts";
import { startPushMirror } from "../../fixtures/push-mirror.ts";
import { startBoth } from "../../fixtures/push-through.ts";
import { type PushRequest, type PushUpstream, startPushUpstream } from "../../fixtures/push-upstream.ts";

const repository = "team/app";
const image = makeImage({ layers: [10], seed: "first" });
const other = makeImage({ layers: [10], seed: "second" });
const authorization = async (): Promise<string> => `Basic ${btoa("ci:s3cret")}`;

/** Redirects the first `count` of the requests that go to manifests at upstream's own origin. */
function redirect(upstream: PushUpstream, status: number, location: string, count = 1): () => void {
  let left = count;
  return upstream.fault(({ path, foreign }) =>
    !foreign && path.includes("/manifests/") && left-- > 0 ? { status, headers: { location } } : undefined,
  );
}

function puts(upstream: PushUpstream): PushRequest[] {
  return upstream.requests.filter(({ method }) => method === "PUT" || method === "DELETE");
}

for (const status of [307, 308])
  t.test(`${status} of a manifest is followed, with its body, its type and its account`, async (t) => {
    const { upstream, mirror } = await startBoth(t);
    await pushImage(mirror, repository, "1", image);
    await pushImage(mirror, repository, "2", other);
    upstream.requests.length = 0;
    const there = `${upstream.url.pathname}/v2/${repository}/manifests/moved`;
    const heal = redirect(upstream, status, there);
    t.match(await pushManifest(mirror, repository, "1", other), { status: 201 });
    heal();
    t.match(puts(upstream), [
      { bytes: other.manifest.length, status },
      {
        path: there,
        bytes: other.manifest.length,
        status: 201,
        headers: { "content-type": other.mediaType, authorization: await authorization() },
      },
    ]);
    redirect(upstream, status, there);
    t.equal((await mirror.ask("DELETE", `/v2/${repository}/manifests/1`)).status, 202, "without a body");
  });

t.test("a manifest goes to another origin without the account, and under the address rules", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  await pushImage(mirror, repository, "1", image);
  upstream.requests.length = 0;
  upstream.fault(({ foreign }) => (foreign ? { status: 201 } : undefined));
  redirect(upstream, 307, `${upstream.foreignOrigin.replace("//", "//user:secret@")}/elsewhere`);
  t.match(await pushManifest(mirror, repository, "2", image), { status: 201 });
  const [, sent] = puts(upstream);
  t.match(sent, { foreign: true, path: "/elsewhere", bytes: image.manifest.length });
  t.notOk(sent?.headers.authorization);
});

t.test("a manifest is not sent to an address no download may be redirected to", async (t) => {
  const { upstream, mirror } = await startBoth(t, { upstream: { redirectsTo: ["10.0.0.0/8"] } });
  await pushImage(mirror, repository, "1", image);
  upstream.requests.length = 0;
  const { port } = new URL(upstream.foreignOrigin);
  for (const location of [
    `http://127.0.0.1:${port}/x`,
    `https://[::1]:${port}/x`,
    "ftp://far/x",
    `/${"x".repeat(9000)}`,
  ]) {
    const heal = redirect(upstream, 307, location);
    t.equal((await pushManifest(mirror, repository, "2", image)).status, 502, location.slice(0, 40));
    heal();
  }
  t.notOk(upstream.requests.some(({ foreign }) => foreign));
});

t.test("redirects that do not end, or change the method: one answer, which says so", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  await pushImage(mirror, repository, "1", image);
  for (const [status, count] of [
    [307, 4],
    [302, 1],
    [303, 1],
    [300, 1],
  ] as const) {
    upstream.requests.length = 0;
    const heal = redirect(upstream, status, "", 100);
    const answer = await pushManifest(mirror, repository, "2", image);
    heal();
    t.equal(answer.status, 502);
    t.match(
      JSON.parse(answer.body.toString()).errors[0].message,
      /redirects this write, and it cannot be sent again/,
    );
    t.equal(puts(upstream).length, count);
  }
});

t.test("a body that is streamed is not sent again: the answer says that upstream redirects", async (t) => {
  const upstream = await startPushUpstream(t);
  const bodies = new HeldBodies(image.manifest.length - 1);
  const mirror = await startPushMirror(t, upstream.url, { authorization, bodies });
  redirect(upstream, 307, "/elsewhere", 100);
  const put = async (body: Buffer): Promise<[number | undefined, string]> => {
    const { request, answer } = openRequest(mirror.url, "PUT", `/v2/${repository}/manifests/1`, body.length);
    request.end(body);
    const message = await answer;
    return [message.statusCode, (await readAnswer(message)).text];
  };
  const [status, text] = await put(image.manifest);
  t.equal(status, 502, "no room for it in memory");
  t.match(text, /the upstream registry redirects this write, and it cannot be sent again/);
  t.match(
    await put(Buffer.concat([image.manifest, Buffer.alloc(4 * 1024 * 1024, " ")])),
    [502, /redirects this write/],
    "longer than a manifest",
  );
  t.equal(upstream.requests.length, 2);
  t.match(await mirror.ended(2), [{ detail: "protocol", upstreamStatus: 307 }, { upstreamStatus: 307 }]);
  t.equal(bodies.held, 0);
});

t.test("a kept connection that is lost: the manifest goes again, on a new one", async (t) => {
  const upstream = await startPushUpstream(t);
  const bodies = new HeldBodies();
  const mirror = await startPushMirror(t, upstream.url, { authorization, bodies });
  const blobs = upstream.content(repository).blobs;
  for (const { digest, bytes } of [image.config, ...image.layers]) blobs.set(digest, bytes);
  const put = async (length: number | undefined): Promise<number | undefined> => {
    const { request, answer } = openRequest(mirror.url, "PUT", `/v2/${repository}/manifests/1`, length);
    request.end(image.manifest);
    const message = await answer;
    await readAnswer(message);
    return message.statusCode;
  };
  t.equal(await put(image.manifest.length), 201);
  for (const length of [image.manifest.length, undefined]) {
    upstream.requests.length = 0;
    mirror.told.length = 0;
    let lost = 0;
    const heal = upstream.fault(() => (lost++ === 0 ? { dieBeforeAnswer: true } : undefined));
    t.equal(await put(length), 201, length === undefined ? "chunked" : "of known length");
    heal();
    t.match(upstream.requests, [
      { bytes: image.manifest.length, cut: true },
      {
        bytes: image.manifest.length,
        headers: { "content-length": `${image.manifest.length}` },
        status: 201,
      },
    ]);
    t.same(
      mirror.told,
      [`unsure ${repository} 1`, `pushed ${repository} 1`],
      "upstream may have done it twice",
    );
  }
  t.equal(bodies.held, 0);
});

t.test(
  "bodies in memory: one without length is no longer than a manifest, and those who leave or stall give up their room",
  async (t) => {
    const upstream = await startPushUpstream(t);
    const bodies = new HeldBodies();
    const mirror = await startPushMirror(t, upstream.url, {
      authorization,
      bodies,
      timeouts: { client: 100 },
    });
    const path = `/v2/${repository}/manifests/1`;
    const long = openRequest(mirror.url, "PUT", path, undefined);
    long.request.end(Buffer.alloc(4 * 1024 * 1024 + 1));
    const message = await long.answer;
    t.equal(message.statusCode, 413);
    t.match((await readAnswer(message)).text, /SIZE_INVALID/);
    const stalls = openRequest(mirror.url, "PUT", path, 1000);
    stalls.request.write("{");
    t.equal((await stalls.answer).statusCode, 408);
    stalls.request.destroy();
    const leaves = openRequest(mirror.url, "PUT", path, 1000);
    leaves.request.write("{", () => leaves.request.destroy());
    await leaves.closed;
    t.match(
      (await mirror.ended(3)).map(({ status }) => status),
      [413, 408, 499],
    );
    t.equal(bodies.held, 0);
    t.same(upstream.requests, [], "nothing is sent before it is whole");
  },
);

t.test("a redirect of an upload that comes before its body has is passed on too", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  const location = (await mirror.ask("POST", `/v2/${repository}/blobs/uploads/`)).headers.location ?? "";
  upstream.fault(() => ({
    early: true,
    status: 307,
    headers: { location: `${upstream.foreignOrigin}/v2/x` },
  }));
  const { request, answer } = openRequest(new URL(mirror.url), "PATCH", location, 1000);
  request.write("a");
  t.match(await answer, { statusCode: 307, headers: { location: /^\/v2\/team\/app\/blobs\/uploads\// } });
  request.destroy();
});

t.test("a denied tag is denied in ?tag= as well", async (t) => {
  const { upstream, mirror } = await startBoth(t, { upstream: { deny: [`${repository}:internal*`] } });
  await pushImage(mirror, repository, "1", image);
  upstream.requests.length = 0;
  const path = (...tags: string[]): string => `${image.digest}?${tags.map((tag) => `tag=${tag}`).join("&")}`;
  for (const reference of ["internal", path("internal-2"), path("a", "internal"), path("internal", "a")])
    t.match(await pushManifest(mirror, repository, reference, image), { status: 403 }, reference);
  t.same(upstream.requests, []);
  t.match(await pushManifest(mirror, repository, path("a", "b"), image), { status: 201 });
});
