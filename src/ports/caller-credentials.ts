// A caller's own account at an upstream that decides by it what the caller may have. It is held in memory, and goes to that
// upstream and its token servers only.
import { isUtf8 } from "node:buffer";

/** Name and password as a client sent them by Basic (RFC 7617) with one request. Printing it shows nothing of them. */
export class CallerCredentials {
  /** The same for the same credentials as long as this process runs; nobody can tell them from it. */
  readonly identity: string;
  readonly #token: string;
  #waits = true;

  /** `token`: base64 of `name:password`, in UTF-8; `identity`: an HMAC of it. */
  constructor(token: string, identity: string) {
    this.#token = token;
    this.identity = identity;
  }

  /** Whether they can be sent on as they were meant: RFC 7617, section 2, and in UTF-8. */
  get readable(): boolean {
    const bytes = Buffer.from(this.#token, "base64");
    return bytes.includes(0x3a) && isUtf8(bytes) && !bytes.some((byte) => byte < 0x20 || byte === 0x7f);
  }

  /** Whether the caller still waits for the answer to the request. */
  get waits(): boolean {
    return this.#waits;
  }

  /** The request is over. A question to upstream that has begun may end with them, and nothing new begins. */
  leave(): void {
    this.#waits = false;
  }

  /** Only where a request to upstream is built. */
  reveal(): { readonly name: string; readonly password: string } {
    const text = Buffer.from(this.#token, "base64").toString();
    const colon = text.indexOf(":");
    return { name: text.slice(0, colon), password: text.slice(colon + 1) };
  }
}
