// What another node is told of this one's repositories.
import t from "tap";
import { NodeProof, proofHeader } from "../../src/ports/datacenter/node-proof.ts";
import { readReportedPage } from "../../src/ports/datacenter/reported-images.ts";
import { upstreamId } from "../../src/ports/datacenter/upstream-id.ts";
import { fixedSecret, Secret } from "../../src/ports/secret.ts";
import { peerHeader } from "../../src/ports/shared.ts";
import { makeImage } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

t.test("repositories are those of the same registry, not of another one with its name", async (t) => {
  const secret = fixedSecret(new Secret("s".repeat(32)));
  const proof = new NodeProof(secret, Date.now);
  const host = "node-a.test:5000";
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, { node: { name: "a", address: `http://${host}`, secret } });
  for (const name of ["team/a", "team/b", "team/c"]) {
    upstream.addImage(name, "1", makeImage({ layers: [10], seed: name }));
    await mirror.get(`/v2/${name}/manifests/1`);
  }
  const ask = async (url: URL, query: Record<string, string> = {}) => {
    const id = upstreamId({ name: "upstream", url, repositoryPrefix: "" });
    const target = `/node/v1/repositories?${new URLSearchParams({ upstream: id, ...query })}`;
    const signed = await proof.sign({ node: "b", method: "GET", host, target });
    const answer = await mirror.get(target, { host, [peerHeader]: "b", [proofHeader]: signed });
    return { status: answer.status, ...JSON.parse(answer.body.toString()) };
  };
  t.match(await ask(upstream.url), { status: 200, repositories: ["team/a", "team/b", "team/c"] });
  t.same((await ask(upstream.url, { n: "1", last: "team/a" })).repositories, ["team/b"]);
  for (const n of ["0", "-1", "x", "1e9", "1.5"])
    t.ok((await ask(upstream.url, { n })).repositories.length > 0, `n=${n}`);
  const other = await ask(new URL("https://other.example.com"));
  t.match(other, { status: 404, errors: [{ code: "NAME_UNKNOWN" }] });
  t.equal(other.repositories, undefined);
});

t.test("a node is told what was pulled here, a page after the other, and nobody else is", async (t) => {
  const secret = fixedSecret(new Secret("s".repeat(32)));
  const proof = new NodeProof(secret, Date.now);
  const host = "node-a.test:5000";
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, { node: { name: "a", address: `http://${host}`, secret } });
  const image = makeImage({ layers: [10] });
  upstream.addImage("team/a", "1", image);
  await mirror.get("/v2/team/a/manifests/1");
  const ask = async (query: string) => {
    const target = `/node/v1/reported-images?${query}`;
    const signed = await proof.sign({ node: "b", method: "GET", host, target });
    const answer = await mirror.get(target, { host, [peerHeader]: "b", [proofHeader]: signed });
    return { status: answer.status, page: readReportedPage(JSON.parse(answer.body.toString())) };
  };
  const { page } = await ask("since=0");
  t.match(page, {
    images: [
      {
        digest: image.digest,
        names: [{ text: "upstream/team/a:1", expired: false, unproved: [] }],
        parts: [{ digest: image.digest, role: "manifest" }, {}, {}],
        children: [],
        needsChild: false,
      },
    ],
    next: null,
  });
  const { usedAt = 0 } = page?.images[0] ?? {};
  const size = image.manifest.length;
  t.match(await ask(`since=0&after=${usedAt},${size},${image.digest}`), { page: { images: [], next: null } });
  t.match(await ask(`since=${usedAt + 1}`), { page: { images: [] } });
  for (const wrong of [
    "",
    "since=x",
    "since=-1",
    "since=0&after=1",
    "since=0&after=,,",
    "since=0&after=1,2,x",
  ])
    t.equal((await ask(wrong)).status, 400, wrong);
  t.equal((await mirror.get("/node/v1/reported-images?since=0", { host, [peerHeader]: "b" })).status, 404);
});

t.test("a node is told what a tag was seen to name here, of the same registry", async (t) => {
  const secret = fixedSecret(new Secret("s".repeat(32)));
  const proof = new NodeProof(secret, Date.now);
  const host = "node-a.test:5000";
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, { node: { name: "a", address: `http://${host}`, secret } });
  const image = makeImage({ layers: [10] });
  upstream.addImage("team/a", "1", image);
  await mirror.get("/v2/team/a/manifests/1");
  const id = upstreamId({ name: "upstream", url: upstream.url, repositoryPrefix: "" });
  const ask = async (query: Record<string, string>) => {
    const target = `/node/v1/tag-stays?${new URLSearchParams({ upstream: id, repository: "team/a", tag: "1", ...query })}`;
    const signed = await proof.sign({ node: "b", method: "GET", host, target });
    const answer = await mirror.get(target, { host, [peerHeader]: "b", [proofHeader]: signed });
    return { status: answer.status, body: JSON.parse(answer.body.toString()) };
  };
  const told = await ask({});
  t.match(told, { status: 200, body: { stays: [{ digest: image.digest, by: "127.0.0.1" }] } });
  t.same((await ask({ tag: "2" })).body, { stays: [] });
  t.match(await ask({ upstream: "other@0123456789ab" }), {
    status: 404,
    body: { errors: [{ code: "NAME_UNKNOWN" }] },
  });
  for (const wrong of [{ repository: "Team" }, { tag: "-" }]) t.equal((await ask(wrong)).status, 404);
  t.equal((await mirror.get("/node/v1/tag-stays?tag=1", { host, [peerHeader]: "b" })).status, 404);
});
