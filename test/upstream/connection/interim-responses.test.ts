// What comes before the answer itself (RFC 9110, section 15.2), over real connections.
import t from "tap";
import type { Digest } from "../../../src/oci/digest.ts";
import {
  connectUpstream,
  drain,
  found,
  repository,
  tagged,
  upstreamError,
} from "../../fixtures/connected-upstream.ts";
import { digestOf, makeImage } from "../../fixtures/images.ts";
import { type RawStep, startRawUpstream } from "../../fixtures/raw-upstream.ts";

const image = makeImage({ layers: [10], seed: "interim" });
const never = new AbortController().signal;
const turn = () => new Promise((resolve) => setImmediate(resolve));
/** Bytes that look like responses, from the first one on. */
const sly = Buffer.from("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n".repeat(3_000));

function answer(body: Buffer): RawStep[] {
  return [`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`];
}

const before: Record<string, RawStep[]> = {
  "100": ["HTTP/1.1 100 Continue\r\n\r\n"],
  "100 without a reason": ["HTTP/1.1 100 \r\n\r\n"],
  "100 with headers": ["HTTP/1.1 100 Continue\r\nServer: x\r\nConnection: keep-alive\r\n\r\n"],
  "102": ["HTTP/1.1 102 Processing\r\n\r\n"],
  "103": ["HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n"],
  "an unknown one": ["HTTP/1.1 199 Whatever\r\nX-Y: z\r\n\r\n"],
  "several at once": [
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
  ],
  "several, one after the other": [
    "HTTP/1.1 100 Continue\r\n\r\n",
    turn(),
    "HTTP/1.1 102 Processing\r\n\r\n",
    turn(),
    "HTTP/1.1 100 Continue\r\n\r\n",
    turn(),
  ],
};

for (const [what, steps] of Object.entries(before))
  t.test(`an interim response is passed over: ${what}`, async (t) => {
    let body = Buffer.from(image.manifest);
    const registry = await startRawUpstream(t, (head) => [
      ...steps,
      ...answer(body),
      ...(head.startsWith("HEAD") ? [] : [turn(), body]),
    ]);
    const { upstream } = connectUpstream(t, registry.url, { maxConnections: 1 });
    for (let round = 0; round < 2; round++) {
      t.match(await upstream.headManifest(repository, tagged("1")), { kind: "found", size: body.length });
      t.match(await upstream.getManifest(repository, tagged("1")), { kind: "found", body });
    }
    body = sly;
    const blob = found(await upstream.openBlob(repository, digestOf(sly) as Digest, 0, never));
    t.ok((await drain(blob.body)).bytes.equals(sly), "no byte of a body is touched");
    t.equal(registry.connections, 1, "and the connection is kept");
  });

t.test("a body in the same packet as its head is not touched", async (t) => {
  const registry = await startRawUpstream(t, () => [
    Buffer.concat([
      Buffer.from("HTTP/1.1 100 Continue\r\n\r\n"),
      Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${sly.length}\r\n\r\n`),
      sly,
    ]),
  ]);
  const { upstream } = connectUpstream(t, registry.url);
  for (let round = 0; round < 2; round++) {
    const blob = found(await upstream.openBlob(repository, digestOf(sly) as Digest, 0, never));
    t.ok((await drain(blob.body)).bytes.equals(sly));
  }
});

t.test("another protocol that nobody asked for is no interim response", async (t) => {
  const registry = await startRawUpstream(t, () => [
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
  ]);
  const { upstream } = connectUpstream(t, registry.url);
  const error = await upstreamError(upstream.getManifest(repository, tagged("1")));
  t.match(error.code, /^(?:unreachable|protocol)$/);
});

t.test("a token server's are passed over as well", async (t) => {
  const body = JSON.stringify({ token: "abc" });
  const tokens = await startRawUpstream(t, () => [
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n",
    `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  ]);
  const registry = await startRawUpstream(t, (head) => {
    if (/^authorization: Bearer abc$/im.test(head)) return [...answer(image.manifest), image.manifest];
    const challenge = `Bearer realm="${tokens.url.href}token",service="s"`;
    return [`HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: ${challenge}\r\nContent-Length: 0\r\n\r\n`];
  });
  const { upstream } = connectUpstream(t, registry.url, { tokenRealms: [tokens.url.host] });
  t.match(await upstream.getManifest(repository, tagged("1")), { kind: "found", body: image.manifest });
});
