import fc from "fast-check";
import t from "tap";
import { NodeProof, type NodeQuestion, proofHeader } from "../../../src/ports/datacenter/node-proof.ts";
import { fixedSecret, Secret } from "../../../src/ports/secret.ts";
import { peerHeader } from "../../../src/ports/shared.ts";

const time = { now: 1_796_000_000_000 };
const clock = () => time.now;
const host = "10.0.0.7:5000";
const proofOf = (secret: string, at: string | undefined = host) =>
  new NodeProof(fixedSecret(new Secret(secret)), clock, at);
const [own, stranger] = [proofOf("a".repeat(32)), proofOf("b".repeat(32))];
const question: NodeQuestion = {
  node: "node-b",
  method: "GET",
  host,
  target: "/upstream/v2/team/app/blobs/sha256:0",
};

t.test("what a node with the same secret has signed is known, and nothing else", async (t) => {
  const proof = await own.sign(question);
  t.equal(await own.verify(question, proof), true);
  t.equal(await stranger.verify(question, proof), false, "another secret");
  for (const changed of [
    { node: "node-c" },
    { method: "HEAD" },
    { host: "10.0.0.8:5000" },
    { target: `${question.target}1` },
    { host: "", target: `10.0.0.7:5000\n${question.target}` },
  ])
    t.equal(await own.verify({ ...question, ...changed }, proof), false, JSON.stringify(changed));
  const [second = "", signature = ""] = proof.split(".");
  for (const wrong of [
    undefined,
    "",
    ".",
    signature,
    `${Number(second) + 1}.${signature}`,
    `0${second}.${signature}`,
    `${second}.${signature}=`,
    `${second}.${signature.slice(1)}`,
    `${second}.${signature} `,
  ])
    t.equal(await own.verify(question, wrong), false, `${wrong}`);
});

t.test("what another node was asked is no proof here, whatever the Host header says", async (t) => {
  const elsewhere = { ...question, host: "10.0.0.9:5000" };
  const { node, method, host: askedAt, target: url } = elsewhere;
  const proof = await own.sign(elsewhere);
  const headers = { host: askedAt, [peerHeader]: node, [proofHeader]: proof };
  t.equal(await proofOf("a".repeat(32), askedAt).isNode({ method, url, headers }), true);
  t.equal(await own.isNode({ method, url, headers }), false, "passed on by who was asked");
  const unasked = new NodeProof(fixedSecret(new Secret("a".repeat(32))), clock);
  t.equal(await unasked.isNode({ method, url, headers }), false, "a node that none asks");
});

t.test("a signature is good for a minute, before and after", async (t) => {
  const proof = await own.sign(question);
  const signedAt = time.now;
  for (const [seconds, good] of [
    [-61, false],
    [-60, true],
    [60, true],
    [61, false],
  ] as const) {
    time.now = signedAt + seconds * 1_000;
    t.equal(await own.verify(question, proof), good, `${seconds} s`);
  }
  time.now = signedAt;
});

t.test("a request as it came", async (t) => {
  const { node, method, host, target: url } = question;
  const headers = { host, [peerHeader]: node, [proofHeader]: await own.sign(question) };
  t.equal(await own.isNode({ method, url, headers }), true);
  for (const name of Object.keys(headers))
    t.equal(await own.isNode({ method, url, headers: { ...headers, [name]: undefined } }), false, name);
  t.equal(await own.isNode({ method, url, headers: { ...headers, [peerHeader]: [node, node] } }), false);
});

t.test("no text is a signature by chance", async () => {
  await fc.assert(fc.asyncProperty(fc.string(), async (text) => !(await own.verify(question, text))));
});
