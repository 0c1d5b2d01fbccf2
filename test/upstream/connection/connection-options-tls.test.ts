import { once } from "node:events";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { getCACertificates, setDefaultCACertificates, type TLSSocket } from "node:tls";
import t from "tap";
import type { TlsConfig } from "../../../src/config/config.ts";
import type { Digest } from "../../../src/oci/digest.ts";
import { Secret } from "../../../src/ports/secret.ts";
import { tlsContexts } from "../../../src/upstream/connection/connection-options.ts";
import { Authority, withoutOpenssl } from "../../fixtures/certificates.ts";
import {
  connectUpstream,
  drain,
  found,
  repository,
  tagged,
  upstreamError,
} from "../../fixtures/connected-upstream.ts";
import { makeImage } from "../../fixtures/images.ts";
import { startUpstream, type UpstreamOptions } from "../../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [10_000], seed: "tls" });
const layer = image.layers[0] as { digest: Digest; bytes: Buffer };
const never = new AbortController().signal;

t.test("certificates", { skip: withoutOpenssl() }, async (t) => {
  const directory = t.testdir();
  const authority = new Authority(directory, "authority");
  const other = new Authority(directory, "other");
  const server = authority.issue("server", "IP:127.0.0.1,DNS:registry.example.com");
  const client = authority.issue("client", "DNS:mirror.example.com");
  const stranger = other.issue("stranger", "DNS:mirror.example.com");

  /** A registry over TLS, and what asking it for a manifest comes to. */
  async function setUp(tls: TlsConfig | undefined, server: UpstreamOptions["tls"]) {
    const registry = await startUpstream(t, { tls: server ?? {} });
    registry.addImage(repository, "1", image);
    const { upstream } = connectUpstream(t, registry.url, { tls });
    return { registry, upstream, ask: () => upstream.headManifest(repository, tagged("1")) };
  }

  t.test("an unknown authority is refused before anything is sent", async (t) => {
    for (const tls of [undefined, {}, { ca: other.cert }]) {
      const { registry, ask } = await setUp(tls, server);
      t.match(await upstreamError(ask()), { code: "unreachable", message: /over TLS/ });
      t.equal(registry.count(), 0);
    }
  });

  t.test("a configured authority is trusted, besides those of the system", async (t) => {
    for (const ca of [authority.cert, `${other.cert}\n${authority.cert}`]) {
      const { ask } = await setUp({ ca }, server);
      t.match(await ask(), { kind: "found" });
    }
    const known = getCACertificates("default");
    t.teardown(() => setDefaultCACertificates(known));
    setDefaultCACertificates([...known, other.cert]);
    const { ask } = await setUp({ ca: authority.cert }, other.issue("foreign", "IP:127.0.0.1"));
    t.match(await ask(), { kind: "found" });
  });

  t.test("another name in the certificate is refused", async (t) => {
    const misnamed = authority.issue("misnamed", "DNS:registry.example.com");
    const { registry, ask } = await setUp({ ca: authority.cert }, misnamed);
    t.match(await upstreamError(ask()), { code: "unreachable", message: /ERR_TLS_CERT_ALTNAME_INVALID/ });
    t.equal(registry.count(), 0);
  });

  t.test("the configured server name is the one that counts, and it is sent", async (t) => {
    const names: string[] = [];
    const listening = {
      ...server,
      SNICallback: (name: string, done: (error: null) => void) => {
        names.push(name);
        done(null);
      },
    };
    const right = await setUp({ ca: authority.cert, serverName: "registry.example.com" }, listening);
    t.match(await right.ask(), { kind: "found" });
    const wrong = await setUp({ ca: authority.cert, serverName: "else.example.com" }, listening);
    t.match(await upstreamError(wrong.ask()), {
      code: "unreachable",
      message: /ERR_TLS_CERT_ALTNAME_INVALID/,
    });
    t.same(names, ["registry.example.com", "else.example.com"]);
  });

  t.test("a certificate of our own is shown to an upstream that asks for one", async (t) => {
    const asking = { ...server, ca: authority.cert, requestCert: true, rejectUnauthorized: true };
    const key = new Secret(client.key);
    const given = await setUp({ ca: authority.cert, cert: client.cert, key }, asking);
    t.match(await given.ask(), { kind: "found" });
    for (const tls of [
      { ca: authority.cert },
      { ca: authority.cert, cert: stranger.cert, key: new Secret(stranger.key) },
    ]) {
      const { registry, ask } = await setUp(tls, asking);
      t.match(await upstreamError(ask()), { code: "unreachable" });
      t.equal(registry.count(), 0);
    }
  });

  t.test(
    "a storage behind a redirect is trusted by the same authority, and not shown our certificate",
    async (t) => {
      const shown: string[] = [];
      const curious = { ...server, ca: authority.cert, requestCert: true, rejectUnauthorized: false };
      const storage = createServer(curious, (request, response) => {
        shown.push(String((request.socket as TLSSocket).getPeerCertificate().subject?.CN));
        response.end(layer.bytes);
      });
      storage.listen(0, "127.0.0.1");
      await once(storage, "listening");
      t.teardown(() => storage.close());
      const registry = await startUpstream(t, { tls: curious });
      const location = `https://127.0.0.1:${(storage.address() as AddressInfo).port}/object`;
      registry.fault(() => ({ status: 307, headers: { location } }));
      const { upstream } = connectUpstream(t, registry.url, {
        tls: { ca: authority.cert, cert: client.cert, key: new Secret(client.key) },
        redirectsTo: ["127.0.0.1"],
      });
      const { body } = found(await upstream.openBlob(repository, layer.digest, 0, never));
      t.ok((await drain(body)).bytes.equals(layer.bytes));
      t.same(shown, ["undefined"]);
    },
  );

  t.test("what is no certificate is an error at once", async (t) => {
    t.throws(() => tlsContexts({ cert: "nonsense" }));
    t.throws(() => tlsContexts({ cert: client.cert, key: new Secret("nonsense") }));
    t.same(tlsContexts(undefined), { own: undefined, foreign: undefined });
  });
});
