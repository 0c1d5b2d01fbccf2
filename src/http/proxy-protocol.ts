// The PROXY protocol, versions 1 and 2: a proxy that passes connections on as they are says first whose they are
// (https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt). Only what trusted proxies send is read here.
import { isIPv4, isIPv6, type Socket } from "node:net";

/** Longest header of version 1, with its line break (section 2.1). */
const longestLine = 107;
/** Longest header of version 2 that is read: the addresses, and some kilobytes of TLVs, which say nothing to us. */
const longestBinary = 16 + 4096;
const lineStart = Buffer.from("PROXY ");
const signature = Buffer.from("0d0a0d0a000d0a515549540a", "hex");
const port = "(?:0|[1-9]\\d{0,4})";
const lineGrammar = new RegExp(`^PROXY (TCP4|TCP6) ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) (${port}) (${port})$`);

export type ProxyHeader =
  /** The bytes begin no such header, or one that breaks the grammar: they are for the HTTP parser, which refuses the latter. */
  | "none"
  /** They may become one. */
  | "more"
  | {
      /** Bytes of it. */
      readonly length: number;
      /** The client; undefined where the proxy speaks for itself, or says that it does not know. */
      readonly source: string | undefined;
    };

/** Reads the header at the beginning of what a connection has brought. */
export function readProxyHeader(bytes: Buffer): ProxyHeader {
  if (begins(bytes, lineStart)) return bytes.length <= lineStart.length ? "more" : readLine(bytes);
  if (begins(bytes, signature)) return bytes.length < 16 ? "more" : readBinary(bytes);
  return "none";
}

/** Whether one of them begins with the other. */
function begins(bytes: Buffer, start: Buffer): boolean {
  const length = Math.min(bytes.length, start.length);
  return bytes.subarray(0, length).equals(start.subarray(0, length));
}

/** Section 2.1. */
function readLine(bytes: Buffer): ProxyHeader {
  const end = bytes.subarray(0, longestLine).indexOf("\r\n");
  if (end < 0) return bytes.length < longestLine ? "more" : "none";
  const line = bytes.toString("latin1", 0, end);
  const length = end + 2;
  // What follows the word may be anything.
  if (/^PROXY UNKNOWN(?: |$)/.test(line)) return { length, source: undefined };
  const [, family, source = "", destination = "", ...ports] = lineGrammar.exec(line) ?? [];
  const isAddress = family === "TCP4" ? isIPv4 : isIPv6;
  const sound = isAddress(source) && isAddress(destination) && ports.every((each) => Number(each) <= 65_535);
  return sound ? { length, source } : "none";
}

/** Section 2.2; `bytes` are 16 at least. */
function readBinary(bytes: Buffer): ProxyHeader {
  const [command = 0, family = 0] = bytes.subarray(12);
  const length = 16 + bytes.readUInt16BE(14);
  const known = command === 0x20 || command === 0x21;
  if (!known || length > longestBinary) return "none";
  if (bytes.length < length) return "more";
  // LOCAL: the proxy asks for itself, as for its health checks, whatever the addresses say.
  if (command === 0x20) return { length, source: undefined };
  const addresses = bytes.subarray(16, length);
  switch (family) {
    case 0x00:
      return { length, source: undefined };
    case 0x11:
      return addresses.length < 12 ? "none" : { length, source: addresses.subarray(0, 4).join(".") };
    case 0x21:
      return addresses.length < 36 ? "none" : { length, source: ipv6Of(addresses.subarray(0, 16)) };
    case 0x31:
      return addresses.length < 216 ? "none" : { length, source: undefined };
    default:
      return "none";
  }
}

/** Every group in full. */
function ipv6Of(address: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, i) => address.readUInt16BE(2 * i).toString(16));
  return groups.join(":");
}

/**
 * Reads the header from a connection of which nothing has been read. `done` is called once with the client's address
 * (undefined: that of the connection itself) when what comes next on the socket is HTTP; not at all when the connection ends,
 * or the header has not come after `timeout` milliseconds, when it is destroyed.
 */
export function takeProxyHeader(
  socket: Socket,
  timeout: number,
  done: (source: string | undefined) => void,
): void {
  let bytes: Buffer = Buffer.alloc(0);
  const timer = setTimeout(() => socket.destroy(), timeout);
  const end = (): void => {
    clearTimeout(timer);
    socket.off("readable", read).off("close", end).off("end", gone).off("error", gone);
  };
  const gone = (): void => void socket.destroy();
  const read = (): void => {
    for (let chunk: Buffer | null = socket.read(); chunk !== null; chunk = socket.read())
      bytes = Buffer.concat([bytes, chunk]);
    const header = readProxyHeader(bytes);
    if (header === "more") return;
    end();
    const rest = header === "none" ? bytes : bytes.subarray(header.length);
    if (rest.length > 0) socket.unshift(rest);
    done(header === "none" ? undefined : header.source);
  };
  socket.on("readable", read).on("close", end).on("end", gone).on("error", gone);
}
