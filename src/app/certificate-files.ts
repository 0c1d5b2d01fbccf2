// The certificate of a listener, out of its files: read at the start, and again whenever they have changed, as those who renew
// certificates replace them. What cannot be used is told, and the one before stays.
import { randomBytes, X509Certificate } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import type { ListenerTlsConfig } from "../config/config.ts";
import { certificateProblem } from "../config/files.ts";
import type { Clock, Pause } from "../ports/clock.ts";
import { fileVersion } from "../ports/file-version.ts";
import type { ServerTls } from "../ports/tls-front.ts";

/** Milliseconds between two looks at the files. */
const checkInterval = 3_000;
/** Milliseconds after which session tickets are sealed with other keys: a key that leaks opens a day's sessions at most. */
const ticketKeysLifetime = 24 * 3_600_000;
/** RFC 5077, section 5.5, as Node wants them: 16 bytes for the name, for the HMAC and for AES each. */
const ticketKeysLength = 48;

export interface CertificateFilesOptions {
  /** The section of the configuration, for the log. */
  readonly name: "listenTls" | "opsTls";
  readonly files: ListenerTlsConfig;
  /** Gets what is used from now on. */
  readonly changed: (tls: ServerTls) => void;
  readonly log: {
    info(context: object, message: string): void;
    error(context: object, message: string): void;
  };
  /** A steady one. */
  readonly clock: Clock;
  readonly pause: Pause;
}

export class CertificateFiles {
  readonly #options: CertificateFilesOptions;
  #tls: ServerTls;
  #expiry: number;
  /** Of the files last looked at, good or bad. */
  #version: string;
  #keysMadeAt: number;

  private constructor(options: CertificateFilesOptions, version: string, tls: ServerTls) {
    this.#options = options;
    this.#version = version;
    this.#tls = tls;
    this.#expiry = expiryOf(tls);
    this.#keysMadeAt = options.clock();
  }

  /** Rejects with why the files cannot be used. */
  static async open(options: CertificateFilesOptions): Promise<CertificateFiles> {
    const version = await versionOf(options.files);
    return new CertificateFiles(options, version, await readFiles(options.files));
  }

  get tls(): ServerTls {
    return this.#tls;
  }

  /** When the certificate ends, in Unix time. */
  get expiry(): number {
    return this.#expiry;
  }

  /** Looks at the files every 3 s until the signal. Never rejects. */
  async watch(signal: AbortSignal): Promise<void> {
    const { pause } = this.#options;
    while (!signal.aborted) {
      await pause(checkInterval, signal).catch(() => {});
      if (!signal.aborted) await this.#check();
    }
  }

  async #check(): Promise<void> {
    const { name, files, log, clock } = this.#options;
    // Files that are gone are a version, too, so that they are told once.
    const version = await versionOf(files).catch(({ code }: NodeJS.ErrnoException) => String(code));
    if (version !== this.#version) {
      this.#version = version;
      try {
        this.#take(await readFiles(files));
        const expires = new Date(this.#expiry * 1000).toISOString();
        log.info({ setting: name, expires }, "a certificate has changed, and is used for new connections");
      } catch (error) {
        const reason = (error as Error).message;
        log.error(
          { setting: name, reason },
          "a changed certificate cannot be used: the one before stays in use",
        );
      }
    } else if (clock() - this.#keysMadeAt >= ticketKeysLifetime) {
      this.#take({ ...this.#tls, ticketKeys: randomBytes(ticketKeysLength) });
    }
  }

  #take(tls: ServerTls): void {
    this.#tls = tls;
    this.#expiry = expiryOf(tls);
    this.#keysMadeAt = this.#options.clock();
    this.#options.changed(tls);
  }
}

/** With new keys of tickets: nobody resumes what was proved by authorities that are trusted no more. Rejects with why not. */
async function readFiles(files: ListenerTlsConfig): Promise<ServerTls> {
  const { certFile, keyFile, clientCaFile, clientsNeedOne } = files;
  const read = async (path: string): Promise<string> => await readFile(path, "utf8");
  const [cert, key] = [await read(certFile), await read(keyFile)];
  const clientCa = clientCaFile === undefined ? undefined : await read(clientCaFile);
  const problem = certificateProblem(cert, key, clientCa);
  if (problem !== undefined) throw new Error(problem);
  return { cert, key, clientCa, clientsNeedOne, ticketKeys: randomBytes(ticketKeysLength) };
}

/** Changes with every version of any of them. Rejects with the system's error. */
async function versionOf(files: ListenerTlsConfig): Promise<string> {
  const paths = [files.certFile, files.keyFile, files.clientCaFile].filter((path) => path !== undefined);
  const all = await Promise.all(paths.map(async (path) => await stat(path, { bigint: true })));
  return all.map(fileVersion).join(" ");
}

function expiryOf({ cert }: ServerTls): number {
  return new X509Certificate(cert).validToDate.getTime() / 1000;
}
