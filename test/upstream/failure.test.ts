import { inspect } from "node:util";
import t from "tap";
import { UpstreamError } from "../../src/ports/upstream.ts";
import { asUpstreamError, type Phase } from "../../src/upstream/failure.ts";

function coded(code: string, more: object = {}): Error {
  return Object.assign(new Error(`what happened`), { code }, more);
}

t.test("codes of the system and of undici", async (t) => {
  const table: readonly [string, Phase, string][] = [
    ["UND_ERR_CONNECT_TIMEOUT", "head", "timeout"],
    ["UND_ERR_HEADERS_TIMEOUT", "head", "timeout"],
    ["UND_ERR_BODY_TIMEOUT", "body", "timeout"],
    ["ETIMEDOUT", "head", "timeout"],
    ["ECONNREFUSED", "head", "unreachable"],
    ["ENOTFOUND", "head", "unreachable"],
    ["EAI_AGAIN", "head", "unreachable"],
    ["EHOSTUNREACH", "head", "unreachable"],
    ["DEPTH_ZERO_SELF_SIGNED_CERT", "head", "unreachable"],
    ["ERR_TLS_CERT_ALTNAME_INVALID", "head", "unreachable"],
    ["EMFILE", "head", "local"],
    ["ENFILE", "head", "local"],
    ["ENOBUFS", "head", "local"],
    ["EADDRNOTAVAIL", "head", "local"],
    ["ECONNRESET", "head", "unreachable"],
    ["UND_ERR_SOCKET", "head", "unreachable"],
    ["UND_ERR_DESTROYED", "head", "unreachable"],
    ["ECONNRESET", "body", "truncated"],
    ["EPIPE", "body", "truncated"],
    ["UND_ERR_SOCKET", "body", "truncated"],
    ["UND_ERR_RES_CONTENT_LENGTH_MISMATCH", "body", "truncated"],
    ["UND_ERR_RES_CONTENT_LENGTH_MISMATCH", "head", "protocol"],
    ["UND_ERR_HEADERS_OVERFLOW", "head", "protocol"],
  ];
  for (const [code, phase, expected] of table) {
    const error = asUpstreamError(coded(code), phase, "main");
    t.equal(error.code, expected, `${code} ${phase}`);
    t.match(error.message, `(${code})`);
  }
  t.equal(asUpstreamError("no error at all", "head", "main").code, "unreachable");
});

t.test("of a certificate that is refused the message says what can be set", async (t) => {
  const message = (code: string) => asUpstreamError(coded(code), "head", "main").message;
  for (const code of [
    "UNABLE_TO_GET_ISSUER_CERT",
    "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
    "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
    "DEPTH_ZERO_SELF_SIGNED_CERT",
    "SELF_SIGNED_CERT_IN_CHAIN",
  ])
    t.match(message(code), /over TLS: the authority of its certificate is not trusted; .*tls\.ca/, code);
  t.match(message("ERR_TLS_CERT_ALTNAME_INVALID"), /for another name; .*tls\.serverName/);
  t.match(message("CERT_HAS_EXPIRED"), /has expired \(/);
  t.match(message("CERT_NOT_YET_VALID"), /not valid yet; set the clock/);
  for (const alert of ["TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSL/TLS_ALERT_HANDSHAKE_FAILURE"])
    t.match(message(`ERR_SSL_${alert}`), /wants a certificate of ours that it trusts; set tls\.cert/);
  t.match(message("EPROTO"), /could not be reached over TLS \(EPROTO\)/);
});

t.test("parser errors", async (t) => {
  const parser = (message: string) => Object.assign(new Error(message), { name: "HTTPParserError" });
  t.equal(asUpstreamError(parser("Invalid EOF state"), "body", "main").code, "truncated");
  t.equal(asUpstreamError(parser("Invalid character in chunk size"), "body", "main").code, "protocol");
  t.equal(asUpstreamError(parser("Expected HTTP/"), "head", "main").code, "protocol");
});

t.test("the cause keeps name, code, message and stack, and nothing else", async (t) => {
  const original = coded("UND_ERR_SOCKET", {
    data: "HTTP/1.1 307\r\nLocation: presigned",
    socket: { remote: 1 },
  });
  const { cause } = asUpstreamError(original, "head", "main");
  t.match(cause, { name: "Error", code: "UND_ERR_SOCKET", message: "what happened", stack: original.stack });
  t.notMatch(inspect(cause), /presigned|remote/);
});

t.test("an UpstreamError stays what it is", async (t) => {
  const error = new UpstreamError("auth", "refused");
  t.equal(asUpstreamError(error, "body", "main"), error);
});
