import t from "tap";
import { renderConfig } from "../../src/config/print.ts";
import { Authority, withoutOpenssl } from "../fixtures/certificates.ts";
import { configOf, loadedFrom, problemsOf, upstreamUrl, warningsOf } from "../fixtures/loading.ts";

const skip = withoutOpenssl();
const authority = skip === false ? new Authority(t.testdir(), "authority") : undefined;
const own = authority?.issue("own", "DNS:localhost");
const other = authority?.issue("other", "DNS:localhost");
const files = {
  "/own.crt": own?.cert ?? "",
  "/own.key": own?.key ?? "",
  "/other.key": other?.key ?? "",
  "/ca.crt": authority?.cert ?? "",
};

t.test("without them both listeners speak plain HTTP", async (t) => {
  const { listenTls, opsTls } = configOf({ env: upstreamUrl });
  t.same([listenTls, opsTls], [undefined, undefined]);
});

t.test("certificates of both, from the file or the environment, are their paths", { skip }, async (t) => {
  const yaml = "opsTls: {certFile: /own.crt, keyFile: /own.key}\n";
  const env = {
    ...upstreamUrl,
    ENTREPOT_LISTEN_TLS_CERT_FILE: "/own.crt",
    ENTREPOT_LISTEN_TLS_KEY_FILE: "/own.key",
    ENTREPOT_LISTEN_TLS_CLIENT_CA_FILE: "/ca.crt",
  };
  const loaded = loadedFrom({ yaml, env, files });
  const { listenTls, opsTls } = loaded.config;
  t.same(listenTls, {
    certFile: "/own.crt",
    keyFile: "/own.key",
    clientCaFile: "/ca.crt",
    clientsNeedOne: false,
  });
  t.same(opsTls, {
    certFile: "/own.crt",
    keyFile: "/own.key",
    clientCaFile: undefined,
    clientsNeedOne: false,
  });
  const printed = renderConfig(loaded);
  t.notMatch(printed, /BEGIN/);
  t.same(configOf({ yaml: printed, files }), loaded.config);
});

t.test("what cannot be used is told by check and the start", { skip }, async (t) => {
  const problems = (yaml: string) => problemsOf({ yaml, env: upstreamUrl, files });
  t.match(problems("listenTls: {certFile: /own.crt}"), [/a certificate without its key/]);
  t.match(problems("opsTls: {keyFile: /own.key}"), [/a key without its certificate/]);
  t.match(problems("listenTls: {clientCaFile: /ca.crt}"), [/authorities of clients without a certificate/]);
  t.match(problems("listenTls: {certFile: /own.crt, keyFile: /other.key}"), [
    /^listenTls\.certFile .*does not belong to the key/,
  ]);
  t.match(problems("listenTls: {certFile: /own.key, keyFile: /gone}"), [
    /found other content in "\/own\.key", expected a certificate/,
    /"\/gone", which cannot be read/,
  ]);
});

t.test("the other nodes cannot reach a listener that speaks TLS over plain http", { skip }, async (t) => {
  const yaml = (address: string) =>
    `listenTls: {certFile: /own.crt, keyFile: /own.key}\nnode: {address: "${address}"}\n`;
  const warnings = (address: string) => warningsOf({ yaml: yaml(address), env: upstreamUrl, files });
  t.match(warnings("http://10.0.0.7:5000"), [/^node\.address .*the other nodes need https/]);
  t.same(warnings("https://mirror.example.com:5000"), []);
});
