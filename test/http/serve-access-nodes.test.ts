// Where callers name themselves, another node of the datacenter is admitted by its signature, and by nothing else.
import t from "tap";
import { NodeProof, proofHeader } from "../../src/ports/node-proof.ts";
import { fixedSecret, Secret } from "../../src/ports/secret.ts";
import { peerHeader } from "../../src/ports/shared.ts";
import { login, namedAccess } from "../fixtures/access.ts";
import { makeImage } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startPushUpstream } from "../fixtures/push-upstream.ts";

const image = makeImage({ layers: [5_000], seed: "nodes" });
const layer = image.layers[0];
const secret = fixedSecret(new Secret("s".repeat(32)));
const proof = new NodeProof(secret, Date.now);
const stranger = new NodeProof(fixedSecret(new Secret("x".repeat(32))), Date.now);

t.test("a signed read is admitted, an unsigned one is asked for a login", async (t) => {
  const upstream = await startPushUpstream(t);
  const content = upstream.content("team/app");
  for (const { digest, bytes } of [image.config, ...image.layers]) content.blobs.set(digest, bytes);
  content.manifests.set(image.digest, { body: image.manifest, mediaType: image.mediaType });
  content.tags.set("1", image.digest);
  const mirror = await startMirror(t, upstream, {
    access: namedAccess({ alice: "alice-pw" }),
    node: { name: "node-a", address: undefined, secret },
    upstream: { push: true },
  });
  const blob = `/upstream/v2/team/app/blobs/${layer?.digest}`;
  const manifest = `/upstream/v2/team/app/manifests/${image.digest}`;
  for (const path of [manifest, blob])
    t.equal((await mirror.get(path, login("alice", "alice-pw"))).status, 200);

  const ask = async (
    by: NodeProof,
    method: string,
    target: string,
    signed: { method?: string; target?: string } = {},
  ) => {
    const question = { node: "node-b", method, host: mirror.url.host, target, ...signed };
    const headers = { [peerHeader]: "node-b", [proofHeader]: await by.sign(question) };
    return (await mirror.ask(method, target, headers)).status;
  };
  t.equal(await ask(proof, "GET", blob), 200);
  t.equal(await ask(proof, "HEAD", blob), 200);
  t.equal(await ask(proof, "HEAD", manifest), 200);
  for (const path of [blob, manifest]) {
    t.equal((await mirror.get(path, { [peerHeader]: "node-b" })).status, 401, "who only says so");
    t.equal(await ask(stranger, "GET", path), 401, "another secret");
    t.equal(await ask(proof, "GET", path, { method: "HEAD" }), 401, "the signature of another question");
    t.equal(await ask(proof, "GET", path, { target: "/v2/" }), 401);
  }
  upstream.requests.length = 0;
  for (const method of ["PUT", "DELETE"])
    t.equal(await ask(proof, method, manifest), 401, `nodes do not ${method}`);
  t.equal(upstream.requests.length, 0);
});
