// Turns what undici and the system throw into the closed set of UpstreamError codes.
import { ProxyError } from "../outbound/tunnel.ts";
import { localTroubles, UpstreamError, type UpstreamErrorCode } from "../ports/upstream.ts";

/** Where a request was: `head` until the answer's headers are here, `body` from then on. */
export type Phase = "head" | "body";

interface Meaning {
  readonly code: UpstreamErrorCode;
  readonly text: string;
}

const timeouts: Readonly<Record<string, string>> = {
  UND_ERR_CONNECT_TIMEOUT: "did not accept a connection in time",
  UND_ERR_HEADERS_TIMEOUT: "did not begin to answer in time",
  UND_ERR_BODY_TIMEOUT: "fell silent in the middle of an answer",
  ETIMEDOUT: "did not answer in time",
};

/**
 * The UpstreamError for a failed request to `upstream`. The cause keeps code and message of the original and
 * nothing else: undici adds received bytes and socket details to its errors, and those must not reach a log.
 */
export function asUpstreamError(error: unknown, phase: Phase, upstream: string): UpstreamError {
  if (error instanceof UpstreamError) return error;
  if (error instanceof ProxyError) {
    const text = `upstream ${upstream} could not be reached: ${error.message}`;
    return new UpstreamError(error.late ? "timeout" : "unreachable", text, { cause: error });
  }
  const systemCode = codeOf(error);
  const { code, text } = meaningOf(error, systemCode, phase);
  const named = systemCode === undefined ? "" : ` (${systemCode})`;
  return new UpstreamError(code, `upstream ${upstream} ${text}${named}`, { cause: bareCause(error) });
}

function meaningOf(error: unknown, systemCode: string | undefined, phase: Phase): Meaning {
  const late = timeouts[systemCode ?? ""];
  if (late !== undefined) return { code: "timeout", text: late };
  if (phase === "head" && localTroubles.has(systemCode ?? ""))
    return { code: "local", text: "could not be asked: this node is out of handles, ports or memory" };
  if (isMalformed(error, systemCode, phase)) return { code: "protocol", text: "sent what is not HTTP" };
  if (systemCode === "UND_ERR_HEADERS_OVERFLOW") {
    return { code: "protocol", text: "sent more headers than are read" };
  }
  if (phase === "body") return { code: "truncated", text: "broke off in the middle of an answer" };
  if (systemCode === "ECONNRESET" || systemCode === "EPIPE" || systemCode === "UND_ERR_SOCKET") {
    return { code: "unreachable", text: "closed the connection without an answer" };
  }
  if (systemCode !== undefined && /CERT|TLS|SSL|SIGNATURE|EPROTO/.test(systemCode)) {
    return { code: "unreachable", text: `could not be reached over TLS${remedyFor(systemCode)}` };
  }
  return { code: "unreachable", text: "could not be reached" };
}

/** What OpenSSL says when no trusted authority stands at the end of a chain (X509_V_ERR_ of its verification errors). */
const unknownAuthority =
  /^(?:UNABLE_TO_GET_ISSUER_CERT(?:_LOCALLY)?|UNABLE_TO_VERIFY_LEAF_SIGNATURE|(?:DEPTH_ZERO_)?SELF_SIGNED_CERT(?:_IN_CHAIN)?)$/;

/** Why there is no TLS, and what an operator can do about it. */
export interface TlsTrouble {
  readonly what: string;
  readonly fix?: string;
}

/** By the code of the system, Node or OpenSSL; undefined for what says nothing about TLS. */
export function tlsTrouble(systemCode: string): TlsTrouble | undefined {
  if (unknownAuthority.test(systemCode))
    return {
      what: "the authority of its certificate is not trusted",
      fix: "name its PEM file with tls.ca of the upstream, or add it to the system's authorities and restart",
    };
  if (systemCode === "ERR_TLS_CERT_ALTNAME_INVALID")
    return {
      what: "its certificate is for another name",
      fix: "if that is the right registry, set tls.serverName of the upstream to the name",
    };
  if (systemCode === "CERT_HAS_EXPIRED") return { what: "its certificate has expired" };
  if (systemCode === "CERT_NOT_YET_VALID")
    return { what: "its certificate is not valid yet", fix: "set the clock of this machine right" };
  // TLS alerts (RFC 8446, section 6.2) of a server that wants to know who connects.
  if (/ALERT_(?:CERTIFICATE|BAD_CERTIFICATE|UNKNOWN_CA|HANDSHAKE)/.test(systemCode))
    return {
      what: "it wants a certificate of ours that it trusts",
      fix: "set tls.cert and tls.key of the upstream",
    };
  return undefined;
}

/** The end of a message. */
function remedyFor(systemCode: string): string {
  const { what, fix } = tlsTrouble(systemCode) ?? {};
  return [what === undefined ? "" : `: ${what}`, fix === undefined ? "" : `; ${fix}`].join("");
}

/** undici's parser errors have a name but no code; one of them is the end of a chunked body before its last chunk. */
function isMalformed(error: unknown, systemCode: string | undefined, phase: Phase): boolean {
  if (error instanceof Error && error.name === "HTTPParserError") {
    return phase === "head" || !error.message.includes("EOF");
  }
  // Before the headers are complete this is how undici words an error in them.
  return phase === "head" && systemCode === "UND_ERR_RES_CONTENT_LENGTH_MISMATCH";
}

function codeOf(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return typeof code === "string" ? code : undefined;
}

function bareCause(error: unknown): Error {
  if (!(error instanceof Error)) return new Error("not an Error was thrown");
  const bare = new Error(error.message);
  bare.name = error.name;
  if (error.stack !== undefined) bare.stack = error.stack;
  return Object.assign(bare, { code: codeOf(error) });
}
