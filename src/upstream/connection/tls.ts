// Whom this mirror trusts over TLS, and how it shows who it is.
import { createSecureContext, getCACertificates, type SecureContext } from "node:tls";
import type { TlsConfig } from "../../config/config.ts";

export interface TlsContexts {
  /** For the configured origin: with our certificate and key. Undefined for Node's own. */
  readonly own: SecureContext | undefined;
  /**
   * For where redirects lead: trusts the same authorities, since storages behind a private registry have
   * certificates of the same private authority, and shows nothing of ours.
   */
  readonly foreign: SecureContext | undefined;
}

/**
 * Built once: reading the system's certificates anew would cost every connection milliseconds. Throws the system's
 * error when a certificate or key cannot be read.
 */
export function tlsContexts(tls: TlsConfig | undefined): TlsContexts {
  if (tls === undefined) return { own: undefined, foreign: undefined };
  const trust = tls.ca === undefined ? {} : { ca: [...getCACertificates("default"), tls.ca] };
  const identity = {
    ...(tls.cert === undefined ? {} : { cert: tls.cert }),
    ...(tls.key === undefined ? {} : { key: tls.key.reveal() }),
  };
  return {
    own: createSecureContext({ ...trust, ...identity }),
    foreign: tls.ca === undefined ? undefined : createSecureContext(trust),
  };
}
