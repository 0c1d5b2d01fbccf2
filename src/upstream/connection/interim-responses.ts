// Interim responses (RFC 9110, section 15.2) are passed over by undici, all but 100 (Continue): it never asks for that one,
// and takes it for a broken answer. A client has to be able to parse one even if it does not expect it.
import type { Socket } from "node:net";

/** The beginning of the status line of an interim response. */
const interim = /^HTTP\/1\.[01] 1\d\d[ \r]/;
const statusLine = 13;
/** Where the last digit of the status stands. */
const lastDigit = 11;
const emptyLine = "\r\n\r\n";

/**
 * From now on the socket's 100 responses reach its reader as 102 (Processing), which means as little. Only what follows
 * what was written last is looked at: bytes of a body are never changed. A status line that comes in pieces is let through as
 * it is.
 */
export function asProcessing(socket: Socket): void {
  /** Whether the next bytes read begin a response. */
  let atHead = false;
  const { read, write } = socket;
  socket.write = ((...asked: Parameters<Socket["write"]>) => {
    atHead = true;
    return write.apply(socket, asked);
  }) as Socket["write"];
  socket.read = (size) => {
    const chunk = read.call(socket, size) as Buffer | null;
    if (atHead && chunk !== null) atHead = afterInterim(chunk);
    return chunk;
  };
}

/** Changes every 100 that the chunk begins with. Whether the next chunk begins a response. */
function afterInterim(chunk: Buffer): boolean {
  for (let at = 0; at < chunk.length; ) {
    if (!interim.test(chunk.toString("latin1", at, at + statusLine))) return false;
    if (chunk.toString("latin1", at + lastDigit - 2, at + lastDigit + 1) === "100")
      chunk[at + lastDigit] = 0x32;
    const end = chunk.indexOf(emptyLine, at, "latin1");
    if (end < 0) return false;
    at = end + emptyLine.length;
  }
  return true;
}
