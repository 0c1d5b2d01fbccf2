// Where clients and operators reach the mirror: whether the address can be listened on, and until when the certificate is good.
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { formatListenPlace, type ListenPlace, listenReasons } from "../config/address.ts";
import type { Config } from "../config/config.ts";
import { certificateProblem, type ListenerTlsConfig } from "../config/files.ts";
import { listenAt } from "../ports/listening.ts";
import { type Finding, failed, ok, type Part, skipped, warning } from "./examination.ts";

/** Milliseconds before its end in which a certificate is warned of. */
const expiresSoon = 14 * 86_400_000;

export async function examineListeners(
  part: Part,
  { listen, opsListen, listenTls, opsTls }: Pick<Config, "listen" | "opsListen" | "listenTls" | "opsTls">,
  mirrorRuns: boolean,
): Promise<void> {
  for (const [name, place] of [
    ["listen", listen],
    ["opsListen", opsListen],
  ] as const)
    await part.check(
      name,
      () =>
        mirrorRuns ? ok(`${formatListenPlace(place)}: a mirror runs here already`) : checkPlace(name, place),
      { alone: true },
    );
  for (const [name, files] of [
    ["listenTls", listenTls],
    ["opsTls", opsTls],
  ] as const)
    await part.check(
      name,
      () => (files === undefined ? skipped("plain http") : checkCertificate(name, files)),
      {
        alone: true,
      },
    );
}

/** Listens for a moment, and accepts nobody. */
async function checkPlace(name: string, place: ListenPlace): Promise<Finding> {
  const text = formatListenPlace(place);
  if ("fd" in place) return skipped(`${text} is passed by systemd`);
  if ("path" in place) return await checkSocket(name, place.path);
  const server = createServer((socket) => void socket.destroy());
  try {
    await listenAt(server, place);
    const closed = once(server, "close");
    server.close();
    await closed;
    return ok(`${text} is free`);
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    const why = listenReasons[code] ?? code;
    const fix =
      code === "EADDRINUSE"
        ? `Stop that program, or set ${name} to another port.`
        : `Set ${name} to another address.`;
    return failed(`cannot listen on ${text}: ${why}`, fix);
  }
}

/** Connects to it: listening there would make a file. */
async function checkSocket(name: string, path: string): Promise<Finding> {
  const socket = connect({ path });
  try {
    await once(socket, "connect");
    return failed(
      `cannot listen on unix:${path}: another program already listens there`,
      `Stop that program, or set ${name} to another path.`,
    );
  } catch {
    return ok(`nobody listens on unix:${path}`);
  } finally {
    socket.destroy();
  }
}

async function checkCertificate(name: string, { certFile, keyFile, clientCaFile }: ListenerTlsConfig) {
  let cert: string;
  let problem: string | undefined;
  try {
    cert = await readFile(certFile, "utf8");
    const ca = clientCaFile === undefined ? undefined : await readFile(clientCaFile, "utf8");
    problem = certificateProblem(cert, await readFile(keyFile, "utf8"), ca);
  } catch (error) {
    const { code, path } = error as NodeJS.ErrnoException;
    return failed(`${path} cannot be read (${code})`, `Let the mirror's user read the files of ${name}.`);
  }
  if (problem !== undefined)
    return failed(problem, `Put a certificate and its own key into the files of ${name}.`);
  const { validToDate, validFromDate } = new X509Certificate(cert);
  const seen = `good until ${validToDate.toISOString()}`;
  if (validToDate.getTime() <= Date.now())
    return failed(
      `the certificate ended on ${validToDate.toISOString()}`,
      `Renew the certificate of ${name}.`,
    );
  if (validFromDate.getTime() > Date.now())
    return failed(
      `the certificate begins on ${validFromDate.toISOString()}`,
      "Set the clock of this machine right, or wait.",
    );
  if (validToDate.getTime() - Date.now() < expiresSoon)
    return warning(seen, `Renew the certificate of ${name}.`);
  return ok(seen);
}
